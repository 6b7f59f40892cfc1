//! Lists and watches of several replicas, put together and shown.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll, StreamExt};
use prost::{Message, Name};
use serde_json::{Value, json};
use tonic::{Status, Streaming};
use umbra_proto::umbra::v1::Replica;

use super::door::{Client, Door};
use super::replicas::{self, Asked};
use super::table::Columns;
use crate::cli::{AskArgs, AskOutput};
use crate::commands::print;

/// A message of a watch.
pub(super) struct Update<T> {
    pub(super) complete: bool,
    pub(super) changed: Vec<T>,
    pub(super) removed: Vec<String>,
}

type Updates<T> = BoxStream<'static, Result<Update<T>, Status>>;

/// What is listed and shown.
pub(super) trait Shown: Message + Name + Clone + PartialEq + 'static {
    /// The field that holds them in JSON.
    const FIELD: &'static str;
    /// When there are none.
    const NONE: &'static str;
    fn id(&self) -> &str;
    fn list(client: Client, namespace: String) -> BoxFuture<'static, Result<(Replica, Vec<Self>), Status>>;
    fn watch(client: Client, namespace: String) -> BoxFuture<'static, Result<Updates<Self>, Status>>;
    /// Adds what another replica says of the same one.
    fn add(&mut self, other: &Self);
    /// Puts what several replicas said in order.
    fn sort(all: &mut [Self]);
    fn header(wide: bool) -> Vec<&'static str>;
    fn row(&self, wide: bool) -> Vec<String>;
    /// The row of one that is gone.
    fn gone(&self, wide: bool) -> Vec<String>;
    /// More to say below the table.
    fn notes(&self) -> Vec<String>;
}

/// The messages of a watch, opened.
pub(super) fn updates<M: Send + 'static, T: Shown>(
    stream: Streaming<M>,
    open: fn(M) -> Update<T>,
) -> Updates<T> {
    stream.map(move |message| message.map(open)).boxed()
}

/// Does what the arguments say.
pub(super) async fn show<T: Shown>(args: &AskArgs) -> anyhow::Result<ExitCode> {
    if args.watch { watch::<T>(args).await } else { list::<T>(args).await }
}

async fn list<T: Shown>(args: &AskArgs) -> anyhow::Result<ExitCode> {
    let namespace = args.namespace.clone().unwrap_or_default();
    let asked = replicas::ask(&Door::new(&args.door)?, &args.door.server, |client| {
        T::list(client, namespace.clone())
    })
    .await;
    let (answers, silent) = answered(asked)?;
    let mut replicas: BTreeMap<String, (Replica, Vec<T>)> = BTreeMap::new();
    for (replica, items) in answers {
        // One that is reached in two ways is one.
        replicas.insert(replica.id.clone(), (replica, items));
    }
    let (replicas, lists): (Vec<_>, Vec<_>) = replicas.into_values().unzip();
    let all = merge(&lists);
    match args.output {
        AskOutput::Json => {
            let mut replicas = replicas;
            replicas.sort_by(|a, b| a.name.cmp(&b.name));
            let value = json!({ "replicas": to_json(&replicas)?, T::FIELD: to_json(&all)? });
            print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?;
        }
        _ if all.is_empty() => {
            let place = args.namespace.as_ref().map_or(String::new(), |name| format!(" in namespace {name}"));
            eprintln!("{}{place}", T::NONE);
        }
        output => {
            let wide = output == AskOutput::Wide;
            let rows: Vec<_> = all.iter().map(|item| item.row(wide)).collect();
            print(&Columns::default().lines(&T::header(wide), &rows))?;
            let notes: Vec<_> = all.iter().flat_map(T::notes).collect();
            if !notes.is_empty() {
                print(&format!("\n{}\n", notes.join("\n")))?;
            }
        }
    }
    for (address, why) in &silent {
        eprintln!("umbra: no answer from {address}: {why}; what it knows is missing");
    }
    Ok(if silent.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn watch<T: Shown>(args: &AskArgs) -> anyhow::Result<ExitCode> {
    let namespace = args.namespace.clone().unwrap_or_default();
    let asked = replicas::ask(&Door::new(&args.door)?, &args.door.server, |client| {
        T::watch(client, namespace.clone())
    })
    .await;
    let addresses: Vec<String> = asked.iter().map(|asked| asked.address.clone()).collect();
    let (watches, silent) = answered(asked)?;
    if let Some((address, why)) = silent.first() {
        bail!("no answer from {address}: {why}");
    }
    let mut lists: Vec<BTreeMap<String, T>> = vec![BTreeMap::new(); watches.len()];
    let mut complete = vec![false; watches.len()];
    let mut all: SelectAll<_> =
        watches.into_iter().enumerate().map(|(n, updates)| updates.map(move |it| (n, it)).boxed()).collect();
    let mut shown: BTreeMap<String, T> = BTreeMap::new();
    let mut columns = Columns::default();
    let wide = args.output == AskOutput::Wide;
    while let Some((number, update)) = all.next().await {
        let update = match update {
            Ok(update) => update,
            Err(status) => bail!("the watch of {} ended: {}", addresses[number], crate::peers::told(&status)),
        };
        for id in &update.removed {
            lists[number].remove(id);
        }
        lists[number].extend(update.changed.into_iter().map(|item| (item.id().to_owned(), item)));
        complete[number] = update.complete;
        if complete.contains(&false) {
            continue;
        }
        let lists: Vec<Vec<T>> = lists.iter().map(|list| list.values().cloned().collect()).collect();
        let now = merge(&lists);
        let changed: Vec<&T> = now.iter().filter(|item| shown.get(item.id()) != Some(item)).collect();
        let ids: BTreeMap<&str, ()> = now.iter().map(|item| (item.id(), ())).collect();
        let removed: Vec<&T> = shown.values().filter(|item| !ids.contains_key(item.id())).collect();
        if args.output == AskOutput::Json {
            let ids: Vec<_> = removed.iter().map(|item| item.id()).collect();
            print(&format!("{}\n", json!({ "changed": to_json(changed)?, "removed": ids })))?;
        } else {
            let rows =
                changed.iter().map(|item| item.row(wide)).chain(removed.iter().map(|it| it.gone(wide)));
            print(&columns.lines(&T::header(wide), &rows.collect::<Vec<_>>()))?;
        }
        shown = now.into_iter().map(|item| (item.id().to_owned(), item)).collect();
    }
    bail!("the watch of {} ended", addresses.join(", "))
}

/// An address, and why there is no answer from it.
type Silent = (String, String);

/// Answers, and the addresses that gave none; an error when none answered.
fn answered<T>(asked: Vec<Asked<T>>) -> anyhow::Result<(Vec<T>, Vec<Silent>)> {
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    for Asked { address, answer } in asked {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(why) => silent.push((address, why)),
        }
    }
    if answers.is_empty() {
        let each: Vec<_> = silent.iter().map(|(address, why)| format!("{address}: {why}")).collect();
        bail!(
            "no answer from {}\nIs umbra running there? For one in a cluster, forward a port to it first:\n  \
             kubectl -n umbra-system port-forward deployment/umbra 15014",
            each.join("\n  and ")
        );
    }
    Ok((answers, silent))
}

/// One list of what several replicas say.
fn merge<T: Shown>(lists: &[Vec<T>]) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for item in lists.iter().flatten() {
        match places.get(item.id()) {
            Some(at) => all[*at].add(item),
            None => {
                places.insert(item.id(), all.len());
                all.push(item.clone());
            }
        }
    }
    T::sort(&mut all);
    all
}

fn to_json<'a, M: Message + Name + 'a>(all: impl IntoIterator<Item = &'a M>) -> anyhow::Result<Vec<Value>> {
    Ok(all.into_iter().map(umbra_proto::json::to_full_json).collect::<Result<_, _>>()?)
}
