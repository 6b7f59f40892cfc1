use umbra_ir::{Interception, ProxyKind};

use super::*;

fn node() -> ProxyNode {
    ProxyNode {
        kind: ProxyKind::Sidecar,
        namespace: "default".into(),
        pod: None,
        labels: None,
        unprivileged: false,
        trusted_proxies: None,
        interception: Interception::None,
        takes_hosts: false,
        edits_copies: true,
        may_have_keys: false,
        http10: false,
        judges: Default::default(),
        locality: None,
    }
}

/// Whoever leaves while the queue is full is let go, and needs nobody who waits for room in it.
#[tokio::test]
async fn who_leaves_is_let_go_also_with_a_full_queue() {
    let (engine, thread) =
        EngineHandle::new(Engine::new(umbra_engine::Options::default()), Arc::new(Metrics::default()));
    let mut connected = Vec::new();
    for _ in 0..QUEUE {
        connected.push(engine.connect(engine.next_id(), node(), RuntimeForms::NONE).await.unwrap());
    }
    // The engine has not begun: all of it waits, and nothing more has room.
    drop(connected);
    assert_eq!(engine.gone.0.lock().unwrap().len(), QUEUE);
    thread.start_alone();
    engine.update(Update::default()).await;
    engine.ready().await;
    assert!(engine.outcome().await.classes.is_empty());
    assert!(engine.gone.0.lock().unwrap().is_empty());
}

/// Who was never taken in is not remembered for ever.
#[test]
fn who_never_came_is_forgotten() {
    let (publish, _) = watch::channel(Published::default());
    let engine = Engine::new(umbra_engine::Options::default());
    let mut owner = Owner::new(engine, Arc::new(Metrics::default()), publish);
    owner.gone.add(ProxyId(1));
    owner.part();
    assert_eq!(owner.early, [ProxyId(1)]);
    // Its coming was in the queue.
    owner.take(Command::Connect(ProxyId(1), node(), RuntimeForms::NONE, watch::channel(None).0));
    owner.part();
    assert!(owner.proxies.is_empty() && owner.early.is_empty());
    owner.gone.add(ProxyId(2));
    owner.part();
    owner.part();
    assert!(owner.early.is_empty());
}

/// A push to all must not take more than a third of a core, and nobody must wait for what was cheap.
#[test]
fn a_pause_is_as_long_as_what_was_told_cost() {
    for (told, millis) in
        [(0, 0.0), (1, 0.115), (10, 1.15), (1000, 115.0), (5000, 115.0), (usize::MAX, 115.0)]
    {
        assert_eq!(rest_after(told), Duration::from_secs_f64(millis / 1000.0), "{told}");
    }
}
