//! One proxy, without input or output: what it holds, what it asks for, how it answers.
//!
//! It does what Envoy 1.40 was seen to do (docs/decisions and the tests in `xds_envoy`): the runtime's layers before all
//! clusters, load assignments by the clusters' names, listeners once no cluster warms, route tables by the listeners'
//! names; the ACK of clusters is withheld while an added or changed one waits for its load assignment; a stream that
//! follows another asks for everything at once and brings its versions, but for clusters only once none warms. Virtual hosts that
//! are resources of their own it asks for once a stream, without names, when the first route table that has such is there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{Context, Result};

use crate::book::{Book, NameId, ResourceId, name_digest};
use crate::kind::{KINDS, Kind};
use crate::wire::{Response, Writer};

/// Not told about.
const NONE: u32 = u32::MAX;
/// Told that it does not exist.
const ABSENT: u32 = u32::MAX - 1;

/// What a proxy is told to be.
#[derive(Clone, Debug)]
pub struct Manner {
    /// State of the world instead of delta.
    pub sotw: bool,
    /// The layers of the runtime that its bootstrap declares.
    pub layers: Rc<[String]>,
    /// Rejects every response of this type.
    pub nacks: Option<Kind>,
}

/// One change that a proxy took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Of what type.
    pub kind: Kind,
    /// Of what name.
    pub name: NameId,
    /// What it holds now; `None`: nothing any more.
    pub now: Option<ResourceId>,
}

/// What a response led to.
#[derive(Default, Debug)]
pub struct Step {
    /// To be sent in this order.
    pub requests: Vec<Vec<u8>>,
    /// What `requests` acknowledge.
    pub acked: Vec<Taken>,
    /// The type of the response.
    pub kind: Option<Kind>,
}

/// One type of resources on one proxy.
#[derive(Default)]
struct Watch {
    asked: bool,
    answered: bool,
    held: Vec<u32>,
    /// By how many of what it holds a name is named.
    named: Vec<u32>,
    /// Names whose count was 0 (`false`) or not before the response that is being taken.
    touched: BTreeMap<NameId, bool>,
    missing: usize,
    digest: u64,
    names: u64,
    /// State of the world.
    version: Vec<u8>,
    nonce: Vec<u8>,
}

fn at(list: &mut Vec<u32>, name: NameId, empty: u32) -> &mut u32 {
    let name = name as usize;
    if list.len() <= name {
        list.resize(name + 1, empty);
    }
    &mut list[name]
}

/// See the module.
pub struct Proxy {
    manner: Manner,
    node: Vec<u8>,
    node_sent: bool,
    watches: [Watch; KINDS],
    /// Load assignments that an added or changed cluster waits for.
    warming: BTreeSet<NameId>,
    /// Responses with clusters that are not answered yet.
    withheld: Vec<(Vec<u8>, Vec<Taken>)>,
}

impl Proxy {
    /// One that knows nothing; `node` is encoded.
    pub fn new(manner: Manner, node: Vec<u8>, book: &mut Book) -> Self {
        let mut proxy = Self {
            manner,
            node,
            node_sent: false,
            watches: Default::default(),
            warming: BTreeSet::new(),
            withheld: Vec::new(),
        };
        for layer in proxy.manner.layers.clone().iter() {
            let name = book.name(Kind::Rtds, layer.as_bytes());
            proxy.name(Kind::Rtds, name, true);
        }
        // What the bootstrap names is asked for with the first request.
        proxy.settle_names(Kind::Rtds);
        proxy
    }

    /// What it says first on a new stream.
    pub fn open(&mut self, book: &mut Book) -> Vec<Vec<u8>> {
        self.node_sent = false;
        self.withheld.clear();
        let before: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| self.watches[*kind as usize].asked).collect();
        for watch in &mut self.watches {
            (watch.asked, watch.answered) = (false, false);
            watch.nonce.clear();
        }
        let mut requests = Vec::new();
        for kind in before {
            if kind != Kind::Cds || self.warming.is_empty() {
                self.ask(kind, book, &mut requests);
            }
        }
        self.go_on(book, &mut requests);
        requests
    }

    /// Takes a response.
    ///
    /// # Errors
    /// When it is none, or of a type that was not asked for.
    pub fn take(&mut self, book: &mut Book, message: &[u8]) -> Result<Step> {
        let response = if self.manner.sotw { Response::sotw(message)? } else { Response::delta(message)? };
        let kind =
            Kind::from_type_url(response.type_url).context("a response of another type than asked for")?;
        let watch = &mut self.watches[kind as usize];
        watch.answered = true;
        watch.nonce = response.nonce.to_vec();
        let mut step = Step { kind: Some(kind), ..Step::default() };
        if self.manner.nacks == Some(kind) {
            let status = Writer::default().number(1, 3).put(2, b"rejected by the load generator").take();
            let request = self.answer(kind, response.nonce, &status, book);
            step.requests.push(request);
            return Ok(step);
        }
        watch.version = response.version.to_vec();
        let taken = self.keep(kind, &response, book);
        self.withheld_or_acked(kind, response.nonce, taken, book, &mut step);
        self.go_on(book, &mut step.requests);
        Ok(step)
    }

    fn keep(&mut self, kind: Kind, response: &Response<'_>, book: &mut Book) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut there = BTreeSet::new();
        let complete = self.manner.sotw && kind.is_wildcard();
        for item in &response.items {
            let name = book.name(kind, item.name);
            let now = book.learn(kind, name, item.version, item.body);
            if complete {
                there.insert(name);
            }
            if kind == Kind::Eds {
                self.warming.remove(&name);
            }
            if self.hold(kind, name, now, book) {
                taken.push(Taken { kind, name, now: Some(now) });
                if let (Kind::Cds, Some(known)) = (kind, book.known(now)) {
                    self.warming.extend(known.leads.iter().map(|(_, name)| *name));
                }
            }
        }
        let mut gone: Vec<NameId> = response.removed.iter().map(|name| book.name(kind, name)).collect();
        if complete {
            let held = self.watches[kind as usize].held.iter().enumerate();
            let held = held.filter(|(_, id)| **id < ABSENT).map(|(name, _)| name as NameId);
            gone.extend(held.filter(|name| !there.contains(name)));
        }
        for name in gone {
            if self.hold(kind, name, ABSENT, book) {
                taken.push(Taken { kind, name, now: None });
            }
        }
        taken
    }

    /// Notes what is held under a name, and what follows for other names; whether it is something else than before.
    fn hold(&mut self, kind: Kind, name: NameId, now: u32, book: &Book) -> bool {
        let watch = &mut self.watches[kind as usize];
        let slot = at(&mut watch.held, name, NONE);
        let before = std::mem::replace(slot, now);
        if before == now {
            return false;
        }
        if before == NONE && watch.named.get(name as usize).is_some_and(|count| *count > 0) {
            watch.missing -= 1;
        }
        let (new, old) = (book.known(now), book.known(before));
        watch.digest = watch.digest.wrapping_add(new.map_or(0, |it| it.digest));
        watch.digest = watch.digest.wrapping_sub(old.map_or(0, |it| it.digest));
        for (known, more) in [(new, true), (old, false)] {
            for (kind, name) in known.map(|it| it.leads.clone()).unwrap_or_default().iter() {
                self.name(*kind, *name, more);
            }
        }
        now != ABSENT || before != NONE
    }

    /// One more, or one less, names a resource.
    fn name(&mut self, kind: Kind, name: NameId, more: bool) {
        let watch = &mut self.watches[kind as usize];
        let count = at(&mut watch.named, name, 0);
        watch.touched.entry(name).or_insert(*count > 0);
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }

    /// The names that are asked for from now on, and those that are not any more.
    fn settle_names(&mut self, kind: Kind) -> (Vec<NameId>, Vec<NameId>) {
        let (mut more, mut less) = (Vec::new(), Vec::new());
        let watch = &mut self.watches[kind as usize];
        for (name, before) in std::mem::take(&mut watch.touched) {
            let now = watch.named[name as usize] > 0;
            let held = *at(&mut watch.held, name, NONE);
            if now && !before {
                watch.names = watch.names.wrapping_add(name_digest(name));
                watch.missing += usize::from(held == NONE);
                more.push(name);
            } else if before && !now {
                watch.names = watch.names.wrapping_sub(name_digest(name));
                watch.missing -= usize::from(held == NONE);
                less.push(name);
            }
        }
        (more, less)
    }

    fn withheld_or_acked(
        &mut self,
        kind: Kind,
        nonce: &[u8],
        taken: Vec<Taken>,
        book: &mut Book,
        step: &mut Step,
    ) {
        self.settle_assignments(book, &mut step.requests);
        if kind == Kind::Cds {
            self.withheld.push((nonce.to_vec(), taken));
        } else {
            let request = self.answer(kind, nonce, &[], book);
            step.requests.push(request);
            step.acked.extend(taken);
        }
        if !self.warming.is_empty() {
            return;
        }
        let withheld = std::mem::take(&mut self.withheld);
        let last = withheld.len().saturating_sub(1);
        for (n, (nonce, taken)) in withheld.into_iter().enumerate() {
            // State of the world: the newest stands for those before it.
            if !self.manner.sotw || n == last {
                let request = self.answer(Kind::Cds, &nonce, &[], book);
                step.requests.push(request);
            }
            step.acked.extend(taken);
        }
    }

    /// Asks for what is named from now on.
    fn settle_assignments(&mut self, book: &mut Book, requests: &mut Vec<Vec<u8>>) {
        for kind in [Kind::Eds, Kind::Rds, Kind::Vhds] {
            let (more, less) = self.settle_names(kind);
            for name in &less {
                self.warming.retain(|it| kind != Kind::Eds || it != name);
                let watch = &mut self.watches[kind as usize];
                let before = std::mem::replace(at(&mut watch.held, *name, NONE), NONE);
                watch.digest = watch.digest.wrapping_sub(book.known(before).map_or(0, |it| it.digest));
                let leads = book.known(before).map(|it| it.leads.clone()).unwrap_or_default();
                leads.iter().for_each(|(kind, name)| self.name(*kind, *name, false));
            }
            if more.is_empty() && less.is_empty() {
                continue;
            }
            if !self.watches[kind as usize].asked {
                self.ask(kind, book, requests);
                continue;
            }
            if kind.is_nameless() {
                continue;
            }
            let mut request = self.request(kind);
            if self.manner.sotw {
                let nonce = self.watches[kind as usize].nonce.clone();
                let (version, names) = (self.watches[kind as usize].version.clone(), self.names(kind, book));
                request.put(1, &version).fields(&names).put(5, &nonce);
            } else {
                for (names, field) in [(&more, 3), (&less, 4)] {
                    for name in names {
                        request.always(field, &book.text(kind, *name));
                    }
                }
            }
            requests.push(request.take());
        }
    }

    /// What can be asked for by now.
    fn go_on(&mut self, book: &mut Book, requests: &mut Vec<Vec<u8>>) {
        let ready = |watch: &Watch| watch.answered && watch.missing == 0;
        let [rtds, cds, eds, lds, ..] = &self.watches;
        let layers = self.manner.layers.is_empty();
        if !rtds.asked && !layers {
            self.ask(Kind::Rtds, book, requests);
        } else if !cds.asked && (layers || ready(rtds)) && self.warming.is_empty() {
            self.ask(Kind::Cds, book, requests);
        } else if !lds.asked && cds.answered && self.warming.is_empty() && eds.missing == 0 {
            self.ask(Kind::Lds, book, requests);
        }
    }

    /// The first request of a type on a stream.
    fn ask(&mut self, kind: Kind, book: &mut Book, requests: &mut Vec<Vec<u8>>) {
        let names = if kind.is_nameless() { Rc::default() } else { self.names(kind, book) };
        let versions = if self.manner.sotw { Vec::new() } else { self.versions(kind, book) };
        let mut request = self.request(kind);
        let watch = &mut self.watches[kind as usize];
        watch.asked = true;
        if self.manner.sotw {
            request.put(1, &watch.version);
        }
        requests.push(request.fields(&names).fields(&versions).take());
    }

    fn answer(&mut self, kind: Kind, nonce: &[u8], error: &[u8], book: &mut Book) -> Vec<u8> {
        if !self.manner.sotw {
            return self.request(kind).put(6, nonce).put(7, error).take();
        }
        let names = if kind.is_wildcard() { Rc::default() } else { self.names(kind, book) };
        let mut request = self.request(kind);
        request.put(1, &self.watches[kind as usize].version).fields(&names).put(5, nonce).put(6, error).take()
    }

    /// A request of a type, with the node if it is the stream's first.
    fn request(&mut self, kind: Kind) -> Writer {
        let (node, url) = if self.manner.sotw { (2, 4) } else { (1, 2) };
        let mut request = Writer::default();
        if !std::mem::replace(&mut self.node_sent, true) {
            request.always(node, &self.node);
        }
        request.put(url, kind.type_url().as_bytes());
        request
    }

    /// The names asked for: `resource_names_subscribe` of delta, `resource_names` of state of the world.
    fn names(&self, kind: Kind, book: &mut Book) -> Rc<[u8]> {
        let watch = &self.watches[kind as usize];
        book.encoded(kind, watch.names, false, |book| {
            let named = watch.named.iter().enumerate().filter(|(_, count)| **count > 0);
            let mut fields = Writer::default();
            for (name, _) in named {
                fields.always(3, &book.text(kind, name as NameId));
            }
            fields.take()
        })
    }

    /// `initial_resource_versions`.
    fn versions(&self, kind: Kind, book: &mut Book) -> Vec<u8> {
        let watch = &self.watches[kind as usize];
        let encode = |book: &Book, own: bool| {
            let mut fields = Writer::default();
            for known in watch.held.iter().filter_map(|id| book.known(*id)).filter(|it| it.own == own) {
                let name = book.text(kind, known.name);
                let entry = Writer::default().put(1, &name).put(2, &known.version).take();
                fields.always(5, &entry);
            }
            fields.take()
        };
        let common = book.encoded(kind, watch.digest, true, |book| encode(book, false));
        [&*common, &*encode(book, true)].concat()
    }

    /// Whether it has been told, and has answered, everything that it asked for.
    pub fn in_step(&self) -> bool {
        let told = |kind: Kind| {
            let watch = &self.watches[kind as usize];
            // Who brings what it should have of virtual hosts is told nothing.
            let answered = watch.answered || kind == Kind::Vhds;
            !watch.asked || (answered && watch.missing == 0)
        };
        let [_, cds, _, lds, ..] = &self.watches;
        cds.asked
            && lds.asked
            && Kind::ALL.into_iter().all(told)
            && self.warming.is_empty()
            && self.withheld.is_empty()
    }

    /// What it lacks, in words.
    pub fn lacks(&self) -> String {
        let of = |kind: Kind| {
            let watch = &self.watches[kind as usize];
            format!(
                "{} asked {} answered {} missing {}",
                kind.name(),
                watch.asked,
                watch.answered,
                watch.missing
            )
        };
        let types: Vec<String> = Kind::ALL.into_iter().map(of).collect();
        format!("{}; warming {}, withheld {}", types.join(", "), self.warming.len(), self.withheld.len())
    }

    /// What it holds of a type, as a number: equal sets have equal ones.
    pub fn digest(&self, kind: Kind) -> u64 {
        self.watches[kind as usize].digest
    }

    /// How many resources of a type it holds.
    pub fn count(&self, kind: Kind) -> usize {
        self.watches[kind as usize].held.iter().filter(|id| **id < ABSENT).count()
    }

    /// What it holds under a name.
    pub fn held(&self, kind: Kind, name: NameId) -> Option<ResourceId> {
        self.watches[kind as usize].held.get(name as usize).copied().filter(|id| *id < ABSENT)
    }
}
