//! Finding every replica behind the servers that were named.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tonic::{Code, Status};

use super::door::{Client, Door};
use crate::channel::resolve;
use crate::peers::told;

/// How long a server may take to be reached, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);

/// What came of asking one address.
pub(in crate::commands) struct Asked<T> {
    /// The address as a person would write it, with the name that led to it.
    pub(in crate::commands) address: String,
    /// The answer, or why there is none.
    pub(in crate::commands) answer: Result<T, String>,
}

/// Asks every address behind `servers`, all at once; the order is that of the servers, then of the addresses.
pub(in crate::commands) async fn ask<T, F: Future<Output = Result<T, Status>>>(
    door: &Door,
    servers: &[String],
    call: impl Fn(Client) -> F,
) -> Vec<Asked<T>> {
    let each = servers.iter().map(async |server| match resolve(server).await {
        Err(why) => vec![Asked { address: server.clone(), answer: Err(why) }],
        Ok(addresses) => {
            let all = join_all(addresses.iter().map(|address| ask_one(door, server, *address, &call))).await;
            one_loopback(&addresses, all)
        }
    });
    join_all(each).await.into_iter().flatten().collect()
}

/// `localhost` is two addresses, and mostly one of them has the server.
fn one_loopback<T>(addresses: &[SocketAddr], asked: Vec<Asked<T>>) -> Vec<Asked<T>> {
    let all = addresses.iter().all(|address| address.ip().is_loopback());
    if !all || !asked.iter().any(|asked| asked.answer.is_ok()) {
        return asked;
    }
    asked.into_iter().filter(|asked| asked.answer.is_ok()).collect()
}

async fn ask_one<T, F: Future<Output = Result<T, Status>>>(
    door: &Door,
    server: &str,
    address: SocketAddr,
    call: &impl Fn(Client) -> F,
) -> Asked<T> {
    let shown = match address.to_string() {
        same if same == server => same,
        other => format!("{other} ({server})"),
    };
    let answer = async {
        let client = door.open(server, address, CONNECT).await?;
        let answer = tokio::time::timeout(ANSWER, call(client)).await;
        answer.map_err(|_| format!("no answer within {ANSWER:?}"))?.map_err(|status| refused(&status))
    };
    Asked { address: shown, answer: answer.await }
}

fn refused(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => {
            "what listens there does not know umbra.v1; is it umbra's --admin or --api?".to_owned()
        }
        _ => told(status),
    }
}
