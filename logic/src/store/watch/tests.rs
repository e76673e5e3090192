use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::*;

const PATIENCE: Duration = Duration::from_secs(2);

fn full() -> StoreError {
    StoreError::Failed("the disk is full".to_owned())
}

/// The outcome of a probe that writes, while reads succeed.
fn written(written: Result<()>) -> ProbeResult {
    ProbeResult { written, read: Ok(()) }
}

#[test]
fn a_store_is_unfit_once_it_has_failed_for_longer_than_the_patience() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut judge = Judge::new(PATIENCE, start);
    let well = (Health::Well, None);
    assert_eq!(judge.on(written(Ok(())), None, at(500)), well);
    assert_eq!(judge.on(written(Err(full())), None, at(1000)), well);
    assert_eq!(judge.on(written(Err(full())), None, at(2499)), well);
    let (health, trouble) = judge.on(written(Err(full())), None, at(2500));
    let trouble = trouble.unwrap();
    assert_eq!((health, trouble.since), (Health::Unwritable, at(500)));
    assert!(trouble.why.contains("cannot be written, only read: the disk is full"), "{trouble:?}");
    let neither = ProbeResult { written: Err(full()), read: Err(full()) };
    let (health, trouble) = judge.on(neither, None, at(2600));
    assert_eq!(health, Health::Away);
    assert!(trouble.unwrap().why.contains("cannot be written or read: the disk is full"));
    assert_eq!(judge.on(written(Ok(())), None, at(3000)), well, "one success is enough");
    assert_eq!(judge.on(written(Err(full())), None, at(3500)), well, "the patience begins anew");
}

#[test]
fn a_write_that_succeeds_counts_as_a_probe() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut judge = Judge::new(PATIENCE, start);
    // The queue is full, but commits go on.
    let busy = || written(Err(StoreError::Busy));
    assert_eq!(judge.on(busy(), Some(at(3000)), at(4000)).0, Health::Well);
    assert_eq!(judge.on(busy(), Some(at(3000)), at(5000)).0, Health::Unwritable);
}

#[test]
fn what_a_store_lacks_depends_on_the_need() {
    let state = StoreState::default();
    for (health, reading, writing) in [
        (Health::Well, false, false),
        (Health::Unwritable, false, true),
        (Health::Away, true, true),
    ] {
        state.set(health);
        assert!(!state.lacks(Need::Nothing));
        assert_eq!((state.lacks(Need::Reading), state.lacks(Need::Writing)), (reading, writing));
    }
}

/// How probes of a store end.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Well,
    Badly,
    Never,
}

struct Store {
    ends: watch::Sender<Ends>,
    reads: Mutex<bool>,
    written: Mutex<Option<Instant>>,
    probes: watch::Sender<usize>,
}

#[async_trait]
impl Probed for Store {
    async fn probe(&self) -> Result<()> {
        self.probes.send_modify(|probes| *probes += 1);
        match *self.ends.borrow() {
            Ends::Well => return Ok(()),
            Ends::Badly => return Err(full()),
            Ends::Never => {}
        }
        std::future::pending().await
    }

    async fn probe_reading(&self) -> Result<()> {
        if *self.reads.lock() { Ok(()) } else { Err(full()) }
    }

    fn last_write(&self) -> Option<Instant> {
        *self.written.lock()
    }
}

struct Told(mpsc::UnboundedSender<Option<String>>);

#[async_trait]
impl TroubleSink for Told {
    async fn set_trouble(&self, trouble: Option<Trouble>) {
        let _ = self.0.send(trouble.map(|trouble| trouble.why));
    }
}

/// A watch with a short patience, and what it tells.
struct World {
    store: Arc<Store>,
    state: Arc<StoreState>,
    told: mpsc::UnboundedReceiver<Option<String>>,
    stop: CancellationToken,
}

impl World {
    fn start(ends: Ends, patience: Duration) -> Self {
        let store = Arc::new(Store {
            ends: watch::Sender::new(ends),
            reads: Mutex::new(true),
            written: Mutex::default(),
            probes: watch::Sender::new(0),
        });
        let (state, stop) = (Arc::<StoreState>::default(), CancellationToken::new());
        let (telling, told) = mpsc::unbounded_channel();
        let sink = Arc::new(Told(telling));
        let watch = StoreWatch { store: store.clone(), state: state.clone(), patience, sink };
        tokio::spawn(watch.run(stop.clone()));
        Self { store, state, told, stop }
    }

    /// Returns the next report.
    async fn hears(&mut self) -> Option<String> {
        let told = timeout(Duration::from_secs(20), self.told.recv()).await;
        told.expect("it is told in time").expect("the watch goes on")
    }
}

#[tokio::test]
async fn trouble_and_its_end_are_told_whether_probes_fail_or_do_not_end() {
    for (ends, words) in [(Ends::Badly, "the disk is full"), (Ends::Never, "no answer within")] {
        let mut world = World::start(ends, Duration::from_millis(100));
        let why = world.hears().await.expect("trouble");
        assert!(why.contains(words), "{why}");
        assert!(world.state.lacks(Need::Writing) && !world.state.lacks(Need::Reading));
        timeout(Duration::from_secs(20), world.state.lost(Need::Writing)).await.unwrap();
        *world.store.reads.lock() = false;
        timeout(Duration::from_secs(20), world.state.lost(Need::Reading)).await.unwrap();
        world.store.ends.send_replace(Ends::Well);
        while world.hears().await.is_some() {}
        assert!(!world.state.lacks(Need::Writing));
        world.stop.cancel();
    }
}

#[tokio::test]
async fn a_store_that_is_written_to_is_not_probed() {
    let world = World::start(Ends::Badly, Duration::from_millis(100));
    let future = Instant::now() + Duration::from_secs(3600);
    *world.store.written.lock() = Some(future);
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(*world.store.probes.borrow(), 0);
    assert!(!world.state.lacks(Need::Writing));
    // Nothing is written any more.
    *world.store.written.lock() = None;
    let mut probes = world.store.probes.subscribe();
    let probed = timeout(Duration::from_secs(20), probes.wait_for(|probes| *probes > 0)).await;
    assert!(probed.unwrap().is_ok());
}
