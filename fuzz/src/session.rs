//! A stream, played from bytes: requests as they are, and those that a proxy would send to what it was told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_proto::google::rpc::Status;
use umbra_xds::{
    Change, Decoded, Output, Request, Requirement, Resource, ResourceType, Response, Session, Snapshot,
    Variant,
};

/// Steps of one input; each takes a byte or more.
const STEPS: usize = 200;

struct Stream<'a> {
    data: &'a [u8],
    session: Session,
    snapshot: Snapshot,
    now: Duration,
    open: Vec<Response>,
    nonces: BTreeSet<String>,
}

/// Plays a stream to the end of its bytes, or until it is to be closed.
pub(crate) fn play(variant: Variant, data: &[u8]) {
    let (session, snapshot) = (Session::new(variant), Snapshot::empty(1, 0));
    let (now, open, nonces) = (Duration::ZERO, Vec::new(), BTreeSet::new());
    let mut stream = Stream { data, session, snapshot, now, open, nonces };
    for _ in 0..STEPS {
        if stream.step().is_none() {
            return;
        }
    }
}

impl Stream<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(*first)
    }

    fn ty(&mut self) -> Option<ResourceType> {
        let number = usize::from(self.byte()?);
        Some(ResourceType::ALL[number % ResourceType::ALL.len()])
    }

    /// One step; `None` at the end.
    fn step(&mut self) -> Option<()> {
        match self.byte()? % 6 {
            0 => {
                let length = usize::from(self.byte()?).min(self.data.len());
                let (message, rest) = self.data.split_at(length);
                self.data = rest;
                let request: Request = match self.session.variant() {
                    Variant::Delta => DeltaDiscoveryRequest::decode(message).ok()?.into(),
                    Variant::Sotw => DiscoveryRequest::decode(message).ok()?.into(),
                };
                self.request(request)
            }
            1 => self.answer(None),
            2 => self.answer(Some(Status { message: "no".to_owned(), ..Status::default() })),
            3 => self.change(),
            4 => {
                let seconds = self.byte()?;
                self.now += Duration::from_secs(seconds.into());
                let output = self.session.on_timer(self.now);
                self.take(output);
                Some(())
            }
            _ => {
                let (ty, name) = (self.ty()?, format!("{}", self.byte()? % 4));
                let type_url = ty.type_url().to_owned();
                let request: Request = match self.session.variant() {
                    Variant::Delta => DeltaDiscoveryRequest {
                        type_url,
                        resource_names_subscribe: vec![name],
                        ..Default::default()
                    }
                    .into(),
                    Variant::Sotw => {
                        DiscoveryRequest { type_url, resource_names: vec![name], ..Default::default() }.into()
                    }
                };
                self.request(request)
            }
        }
    }

    /// Puts or removes a resource, and publishes.
    fn change(&mut self) -> Option<()> {
        let (ty, what) = (self.ty()?, self.byte()?);
        let name = (what % 4).to_string();
        let required = ty.requires().first().map(|ty| Requirement::new(*ty, (what / 4 % 4).to_string()));
        let required: Vec<_> = required.into_iter().collect();
        let change = match what >= 128 {
            true => Change::remove(ty, name),
            false => Change::put(ty, Resource::new(ty, name, [what], required)),
        };
        self.snapshot = self.snapshot.next(self.snapshot.generation() + 1, [change]);
        let output = self.session.on_snapshot(Arc::new(self.snapshot.clone()), self.now);
        self.take(output);
        Some(())
    }

    /// Takes or refuses the oldest response that is open.
    fn answer(&mut self, error_detail: Option<Status>) -> Option<()> {
        if self.open.is_empty() {
            return Some(());
        }
        let response = self.open.remove(0);
        let (type_url, response_nonce) = (response.type_url().to_owned(), response.nonce());
        let request: Request = match response.decode().expect("a message") {
            Decoded::Delta(_) => {
                DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() }.into()
            }
            Decoded::Sotw(response) => {
                let resource_names = (0..4).map(|n| n.to_string()).collect();
                let version_info = response.version_info;
                DiscoveryRequest {
                    type_url,
                    response_nonce,
                    error_detail,
                    resource_names,
                    version_info,
                    ..Default::default()
                }
                .into()
            }
        };
        self.request(request)
    }

    fn request(&mut self, request: Request) -> Option<()> {
        match self.session.on_request(request, self.now) {
            Ok(output) => {
                self.take(output);
                Some(())
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
        }
    }

    /// What holds of everything that is sent.
    fn take(&mut self, output: Output) {
        for response in &output.responses {
            assert!(ResourceType::from_type_url(response.type_url()).is_some() || self.is_empty(response));
            assert!(self.nonces.insert(response.nonce()), "a nonce comes twice");
        }
        self.open.extend(output.responses);
        if let Some(deadline) = self.session.next_deadline() {
            assert!(deadline <= self.now + Duration::from_secs(60), "a wait without end");
        }
    }

    /// A type that is not served is answered once, with nothing.
    fn is_empty(&self, response: &Response) -> bool {
        response.resources() == 0
    }
}
