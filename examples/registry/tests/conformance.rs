//! The folder keeps all rules of a registry.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
};

use async_trait::async_trait;
use imago_example_registry::registries;
use imago_naming::{
    Naming, ServiceRegistration,
    testing::{Fixture, Process, conformance},
};
use tempfile::TempDir;

struct InFolder {
    world: TempDir,
    processes: Mutex<HashMap<String, Weak<Process>>>,
}

impl InFolder {
    fn folder(&self) -> PathBuf {
        self.world.path().join("a registry")
    }

    async fn open(&self) -> Arc<dyn Naming> {
        let path = self.folder().display().to_string().replace(' ', "%20");
        registries().open(&format!("folder://{path}?interval=10ms")).await.unwrap()
    }

    fn process(&self, server: &str) -> Arc<Process> {
        self.processes.lock().unwrap()[server].upgrade().unwrap()
    }
}

#[async_trait]
impl Fixture for InFolder {
    async fn client(&self, process: &str) -> Arc<dyn Naming> {
        let client = Arc::new(Process::new(self.open().await));
        self.processes.lock().unwrap().insert(process.to_owned(), Arc::downgrade(&client));
        client
    }

    async fn fail(&self, server: &str) -> bool {
        self.process(server).kill();
        true
    }

    async fn pass(&self, server: &ServiceRegistration) {
        let again = self.open().await;
        again.register(server).await.unwrap();
        self.process(&server.id).restart(again);
    }

    async fn break_down(&self) -> bool {
        fs::rename(self.folder(), self.world.path().join("away")).unwrap();
        true
    }

    async fn restore(&self) {
        fs::rename(self.world.path().join("away"), self.folder()).unwrap();
    }

    fn watches(&self) -> Option<usize> {
        Some(tokio::runtime::Handle::current().metrics().num_alive_tasks())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms() {
    let (world, processes) = (tempfile::tempdir().unwrap(), Mutex::default());
    conformance(&InFolder { world, processes }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_entry_hides_no_other() {
    let world = tempfile::tempdir().unwrap();
    let url = format!("folder://{}", world.path().display());
    let naming = registries().open(&url).await.unwrap();
    fs::write(world.path().join("typo.json"), "{").unwrap();
    let server = ServiceRegistration::new("chat-1", "chat", "127.0.0.1", 8100);
    naming.register(&server).await.unwrap();
    assert_eq!(naming.find("chat", &[]).await.unwrap(), [server]);
}

#[test]
fn a_wrong_url_is_refused_as_those_of_built_in_registries_are() {
    for (url, expected) in [
        ("folder://run/imago", "expected folder:///PATH, with three slashes"),
        ("folder:///run?intreval=1s", "unknown parameter intreval, expected interval"),
        ("folder:///run?interval=1", "interval: expected a time like 500ms or 10s"),
        ("floder:///run", "unknown scheme floder, expected memory"),
    ] {
        let error = registries().check(url).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}
