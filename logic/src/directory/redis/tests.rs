//! What Redis adds: leases, refreshing, and what happens when it, or a server, is lost.

use std::{
    fs::{self, File},
    path::PathBuf,
    sync::Mutex,
};

use imago_tests::{RedisServer, eventually};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tracing::subscriber::{DefaultGuard, set_default};

use super::*;
use crate::directory::conformance::{PATIENCE, finds, gateway, located, open, session, sync, up};

/// Leases that end soon; a slow machine is no reason to take Redis for lost.
const QUICK: &str = "lease=1s&timeout=10s";

async fn quick(server: &RedisServer) -> Arc<RedisDirectory> {
    open(&format!("{}?{QUICK}", server.url()), DevicePolicy::Unlimited).await
}

/// Starts a directory without waiting for Redis.
fn start(url: &str) -> (RedisDirectory, TaskTracker, CancellationToken) {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let options = RedisOptions::parse(url).unwrap();
    let directory = RedisDirectory::start(options, DevicePolicy::Unlimited, "imago", &tasks, &stop);
    (directory, tasks, stop)
}

/// A server that can die without a farewell.
struct Mortal {
    runtime: Runtime,
    directory: Arc<RedisDirectory>,
}

impl Mortal {
    async fn start(server: &RedisServer) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let directory = {
            let _inside = runtime.enter();
            Arc::new(start(&format!("{}?{QUICK}", server.url())).0)
        };
        up(&directory).await;
        Self { runtime, directory }
    }

    /// Waits on threads of its own until the sessions of an account are these.
    async fn finds(&self, account: &'static str, expected: &'static [&'static str]) {
        let directory = self.directory.clone();
        let finding =
            self.runtime.spawn(async move { finds(&*directory, account, expected).await });
        finding.await.unwrap();
    }

    fn die(self) {
        self.runtime.shutdown_background();
    }
}

/// What is logged by this test's thread.
struct Log {
    file: PathBuf,
    _folder: TempDir,
    _guard: DefaultGuard,
}

impl Log {
    fn watch() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let writer = Mutex::new(File::create(&file).unwrap());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        Self { file, _folder: folder, _guard: set_default(subscriber) }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn warnings(&self) -> usize {
        self.text().lines().filter(|line| line.contains("Redis is lost")).count()
    }
}

async fn down(directory: &RedisDirectory) {
    let is_down = || async { (!directory.is_up()).then_some(()) };
    eventually(PATIENCE, "Redis is lost", is_down).await;
}

/// Milliseconds that a key lives on.
async fn ttl(server: &RedisServer, key: &str) -> Option<i64> {
    let answer = server.ask(&format!("PTTL {key}")).await?;
    answer.trim().strip_prefix(':')?.parse().ok().filter(|ttl| *ttl > 0)
}

/// Waits until a key is given more time.
async fn is_refreshed(server: &RedisServer, key: &str) {
    let last = Mutex::new(i64::MAX);
    eventually(PATIENCE, &format!("{key} is refreshed"), || async {
        let now = ttl(server, key).await?;
        let before = std::mem::replace(&mut *last.lock().unwrap(), now);
        (now > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn entries_are_refreshed_while_their_writer_lives_and_do_not_count_after() {
    let server = RedisServer::start().await;
    let (writer, view) = (Mortal::start(&server).await, quick(&server).await);
    let a = gateway("a", 1);
    sync(&*writer.directory, &a, &[session(&a, 1, "ann", "")]);
    finds(&*view, "ann", &["a 1"]).await;
    is_refreshed(&server, "imago:imago:gateway:a").await;
    is_refreshed(&server, "imago:imago:sessions:kim:ann").await;
    finds(&*view, "ann", &["a 1"]).await;
    writer.die();
    finds(&*view, "ann", &[]).await;
    assert!(view.is_up(), "Redis itself was not lost");
    let gone = || async { (server.ask("DBSIZE").await? == ":0\r\n").then_some(()) };
    eventually(PATIENCE, "Redis has forgotten everything", gone).await;
}

#[tokio::test]
async fn the_next_server_takes_over_from_a_writer_that_died_or_left() {
    let server = RedisServer::start().await;
    let (first, second) = (Mortal::start(&server).await, quick(&server).await);
    let url = format!("{}?lease=10m&timeout=10s", server.url());
    let view = quick(&server).await;
    let a = gateway("a", 1);
    let told = [session(&a, 1, "ann", "")];
    sync(&*first.directory, &a, &told);
    finds(&*view, "ann", &["a 1"]).await;
    sync(&*second, &a, &told);
    first.die();
    // The second is told alone, so it has to be the one that writes this.
    second.session_up(session(&a, 2, "bob", ""));
    finds(&*view, "bob", &["a 2"]).await;
    finds(&*view, "ann", &["a 1"]).await;

    // A server that leaves frees its leases: the next one need not wait for ten minutes.
    let b = gateway("b", 1);
    let (leaving, tasks, stop) = start(&url);
    up(&leaving).await;
    sync(&leaving, &b, &[session(&b, 3, "cid", "")]);
    finds(&*view, "cid", &["b 3"]).await;
    sync(&*second, &b, &[session(&b, 3, "cid", ""), session(&b, 4, "dan", "")]);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert_eq!(located(&*view, "kim", "cid").await, ["b 3"], "no session is lost in between");
    finds(&*view, "dan", &["b 4"]).await;
}

#[tokio::test]
async fn a_gateways_new_life_outdates_the_old_one_that_another_server_still_holds() {
    let server = RedisServer::start().await;
    let (behind, ahead, view) = (quick(&server).await, quick(&server).await, quick(&server).await);
    let (old, new) = (gateway("a", 1), gateway("a", 2));
    sync(&*behind, &old, &[session(&old, 1, "ann", "")]);
    finds(&*view, "ann", &["a 1"]).await;
    sync(&*ahead, &new, &[session(&new, 2, "bob", "")]);
    finds(&*view, "bob", &["a 2"]).await;
    finds(&*view, "ann", &[]).await;
    // The old life's writer cannot win it back, nor take it away as it learns of the end.
    is_refreshed(&server, "imago:imago:gateway:a").await;
    behind.gateway_gone(&old);
    is_refreshed(&server, "imago:imago:gateway:a").await;
    finds(&*view, "bob", &["a 2"]).await;
}

#[tokio::test]
async fn a_killed_redis_takes_away_only_what_no_link_tells_until_it_is_back() {
    survives_a_kill(RedisServer::start().await).await;
}

#[tokio::test]
async fn a_killed_redis_cluster_takes_away_only_what_no_link_tells_until_it_is_back() {
    survives_a_kill(RedisServer::start_cluster().await).await;
}

async fn survives_a_kill(mut server: RedisServer) {
    let log = Log::watch();
    let (linked, view) = (quick(&server).await, Mortal::start(&server).await);
    let a = gateway("a", 1);
    sync(&*linked, &a, &[session(&a, 1, "ann", "")]);
    view.finds("ann", &["a 1"]).await;
    for outage in 1..=2 {
        server.kill9().await;
        // Not once does locating fail, or lack what the links tell.
        eventually(PATIENCE, "Redis is lost", || async {
            assert_eq!(located(&*linked, "kim", "ann").await, ["a 1"]);
            (!linked.is_up()).then_some(())
        })
        .await;
        view.finds("ann", &[]).await;
        linked.session_up(session(&a, 10 + outage, "bob", &outage.to_string()));
        assert_eq!(log.warnings(), outage as usize, "{}", log.text());
        server.restart().await;
        view.finds("ann", &["a 1"]).await;
        up(&linked).await;
        assert_eq!(log.warnings(), outage as usize, "{}", log.text());
    }
    view.finds("bob", &["a 11", "a 12"]).await;
    view.die();
}

#[tokio::test]
async fn a_redis_that_hangs_is_given_up_and_taken_up_again() {
    let server = RedisServer::start().await;
    let view = open(&format!("{}?timeout=50ms", server.url()), DevicePolicy::Unlimited).await;
    let a = gateway("a", 1);
    sync(&*view, &a, &[session(&a, 1, "ann", "")]);
    server.pause();
    assert_eq!(located(&*view, "kim", "ann").await, ["a 1"]);
    down(&view).await;
    assert_eq!(located(&*view, "kim", "ann").await, ["a 1"]);
    server.resume();
    up(&view).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_waited_for() {
    let log = Log::watch();
    let mut server = RedisServer::start().await;
    server.kill9().await;
    let (directory, ..) = start(&server.url());
    let a = gateway("a", 1);
    sync(&directory, &a, &[session(&a, 1, "ann", "")]);
    assert_eq!(located(&directory, "kim", "ann").await, ["a 1"]);
    let warned = || async { (log.warnings() == 1).then_some(()) };
    eventually(PATIENCE, "the loss is told", warned).await;
    server.restart().await;
    up(&directory).await;
    finds(&*quick(&server).await, "ann", &["a 1"]).await;
    assert_eq!(log.warnings(), 1, "{}", log.text());
}

#[tokio::test]
async fn one_outage_is_told_once_however_many_notice_and_the_next_one_again() {
    let (server, log) = (RedisServer::start().await, Log::watch());
    let options = RedisOptions::parse(&server.url()).unwrap();
    let link = Link::connect(&options).await.unwrap();
    let shared = Shared::new(options, Keys::new("imago"), Replicated::default());
    assert!(shared.reader().is_none());
    shared.found(link.clone());
    let (_, first) = shared.reader().unwrap();
    for _ in 0..3 {
        shared.reader_failed(first, &Lost::Reader);
        shared.lost(&Lost::Reader);
    }
    assert!(shared.reader().is_none());
    assert_eq!(log.warnings(), 1);
    shared.found(link);
    shared.reader_failed(first, &Lost::Reader);
    assert!(shared.reader().is_some(), "a reader of before ends the new one");
    shared.lost(&Lost::Reader);
    assert_eq!(log.warnings(), 2);
}

#[tokio::test]
async fn changes_that_found_the_queue_full_are_written_all_the_same() {
    let server = RedisServer::start().await;
    let writer = open(&format!("{}?{QUICK}&queue=16", server.url()), DevicePolicy::Unlimited).await;
    let view = quick(&server).await;
    let a = gateway("a", 1);
    sync(&*writer, &a, &[]);
    // Nothing is written meanwhile: this test's thread is the writer's.
    for id in 0..500 {
        writer.session_up(session(&a, id, &format!("user-{id}"), ""));
    }
    for id in [0, 20, 499] {
        finds(&*view, &format!("user-{id}"), &[&format!("a {id}")]).await;
    }
}

#[tokio::test]
async fn what_a_link_said_has_ended_is_not_found_though_another_server_still_writes_it() {
    let server = RedisServer::start().await;
    let (writer, linked) = (quick(&server).await, quick(&server).await);
    let a = gateway("a", 1);
    let told = [session(&a, 1, "ann", "")];
    sync(&*writer, &a, &told);
    finds(&*linked, "ann", &["a 1"]).await;
    sync(&*linked, &a, &told);
    linked.session_down(&a, SessionId(1));
    assert!(located(&*linked, "kim", "ann").await.is_empty());
    assert_eq!(located(&*writer, "kim", "ann").await, ["a 1"]);
}

#[tokio::test]
async fn a_password_is_used_and_never_logged() {
    let (server, log) = (RedisServer::start().await, Log::watch());
    server.ask("CONFIG SET requirepass hunter2/?").await.unwrap();
    let place = server.url().replace("redis://", "");
    let (_refused, ..) = start(&format!("redis://:hunter3@{place}"));
    let warned = || async { (log.warnings() == 1).then_some(()) };
    eventually(PATIENCE, "a wrong password is told", warned).await;
    open(&format!("redis://:hunter2%2F%3F@{place}"), DevicePolicy::Unlimited).await;
    assert!(!log.text().contains("hunter"), "{}", log.text());
}
