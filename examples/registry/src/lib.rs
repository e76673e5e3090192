//! A registry in a folder, for servers of one machine: `folder:///run/imago?interval=100ms`.
//!
//! Each registration is a file that names the *process file* of the server's process. A process holds a lock on its
//! own for as long as it lives, so the system itself tells the others when it has died. A folder does not
//! notify: subscriptions read it every `interval`.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{Error as IoError, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use imago_naming::{
    Error, Health, Instance, Naming, Registries, RegistryUrl, Result, ServiceRegistration, Skipped,
    Subscription, Unreadable, backend,
};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::byte_serialize;

/// How long a dead server is shown as critical before it is left out.
const CRITICAL_FOR: Duration = Duration::from_secs(60);
/// How long a write waits for those of other processes.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Longest name of a file, in bytes.
const NAME_MAX: usize = 200;

/// Returns the built-in registries and `folder://`.
pub fn registries() -> Registries {
    Registries::default().with("folder", backend(FolderOptions::read, Folder::open))
}

/// Where the folder is, and how often it is read.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// Path of the folder.
    pub path: PathBuf,
    /// Time between two reads of a subscription.
    pub interval: Duration,
}

impl FolderOptions {
    /// Reads `folder:///PATH?interval=TIME`.
    ///
    /// # Errors
    /// When the URL has another form.
    pub fn read(url: &RegistryUrl) -> Result<Self> {
        let mut parts = url.parts()?;
        let path = parts.file_path()?;
        let millis = Duration::from_millis;
        let interval = parts.duration("interval", millis(100), millis(1))?;
        parts.finish()?;
        Ok(Self { path, interval })
    }
}

/// A client of the registry. When it is dropped, its servers are dead for the others.
#[derive(Debug)]
pub struct Folder {
    reader: Arc<Reader>,
    interval: Duration,
    /// Name of the process file.
    process: String,
    _alive: File,
}

#[derive(Debug)]
struct Reader {
    path: PathBuf,
    unreadable: Unreadable,
    /// When each dead process was first seen to be dead.
    dead: Mutex<HashMap<String, (Instant, SystemTime)>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    service: ServiceRegistration,
    process: String,
}

// === impl Folder ===

impl Folder {
    /// Makes the folder, and in it the process file.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn open(options: FolderOptions) -> Result<Self> {
        fs::create_dir_all(&options.path).map_err(unavailable)?;
        let process = format!("{:016x}.process", rand::random::<u64>());
        let alive = File::create_new(options.path.join(&process)).map_err(unavailable)?;
        alive.try_lock().map_err(|error| unavailable(error.into()))?;
        let (unreadable, dead) = (Unreadable::of("folder"), Mutex::default());
        let reader = Arc::new(Reader { path: options.path, unreadable, dead });
        Ok(Self { reader, interval: options.interval, process, _alive: alive })
    }

    /// Waits until no other process writes; none does until the file is dropped.
    async fn alone(&self) -> Result<File> {
        let file = File::create(self.reader.path.join("write.lock")).map_err(unavailable)?;
        let until = Instant::now() + WRITE_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) => return Err(unavailable(error.into())),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Where it stays, its lock is gone: that is enough.
        let _ = fs::remove_file(self.reader.path.join(&self.process));
    }
}

#[async_trait]
impl Naming for Folder {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        service.check()?;
        let file = self.reader.file_of(&service.id);
        if file.as_os_str().len() - self.reader.path.as_os_str().len() > NAME_MAX {
            let reason = format!("expected at most {NAME_MAX} bytes as the name of a file");
            return Err(Error::Invalid { field: "id".to_owned(), reason });
        }
        let entry = Entry { service: service.clone(), process: self.process.clone() };
        let text = serde_json::to_vec(&entry).map_err(|error| unavailable(error.into()))?;
        let _alone = self.alone().await?;
        // Others read the entry before or the new one, and never a half.
        let new = self.reader.path.join(format!("{}.new", self.process));
        fs::write(&new, text).and_then(|()| fs::rename(&new, file)).map_err(unavailable)
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        let _alone = self.alone().await?;
        let file = self.reader.file_of(service_id);
        match read_entry(&file) {
            // Another process has registered in its place.
            Ok(Some(entry)) if entry.process != self.process => Ok(()),
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => fs::remove_file(file).map_err(unavailable),
        }
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        self.reader.clone().read(service.to_owned()).await
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        let (reader, service) = (self.reader.clone(), service.to_owned());
        let first = reader.clone().read(service.clone()).await?;
        let read = move || reader.clone().read(service.clone());
        Ok(Subscription::poll(first, self.interval, read))
    }

    fn location(&self) -> String {
        format!("folder {}", self.reader.path.display())
    }

    fn is_consistent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("folder {}, read every {:?}", self.reader.path.display(), self.interval)
    }
}

// === impl Reader ===

impl Reader {
    fn file_of(&self, id: &str) -> PathBuf {
        self.path.join(byte_serialize(id.as_bytes()).collect::<String>() + ".json")
    }

    /// Reads on a thread that may wait for the disk.
    async fn read(self: Arc<Self>, service: String) -> Result<Vec<Instance>> {
        let reading = tokio::task::spawn_blocking(move || self.read_now(&service));
        reading.await.map_err(|error| unavailable(IoError::other(error)))?.map_err(unavailable)
    }

    fn read_now(&self, service: &str) -> Result<Vec<Instance>, IoError> {
        let mut instances = Vec::new();
        for file in fs::read_dir(&self.path)? {
            let file = file?.path();
            if file.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read_entry(&file) {
                Ok(Some(entry)) if entry.service.name == service => {
                    let health = self.health(&entry.process)?;
                    instances
                        .extend(health.map(|health| Instance { service: entry.service, health }));
                }
                Ok(_) => {}
                Err(reason) => {
                    let id = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    self.unreadable.skip(&Skipped { id, reason });
                }
            }
        }
        Ok(instances)
    }

    /// Returns how the servers of a process do; `None` where they have been dead for long.
    fn health(&self, process: &str) -> Result<Option<Health>, IoError> {
        let is_alive = match File::open(self.path.join(process)) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if is_alive {
            return Ok(Some(Health::Passing));
        }
        let now = || (Instant::now(), SystemTime::now());
        let (seen, since) = *dead.entry(process.to_owned()).or_insert_with(now);
        Ok((seen.elapsed() < CRITICAL_FOR).then_some(Health::Critical { since }))
    }
}

/// The entry of a file, `None` where there is no file; otherwise, what is wrong with it.
fn read_entry(file: &Path) -> Result<Option<Entry>, String> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let entry: Entry = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    entry.service.check().map_err(|error| error.to_string())?;
    Ok(Some(entry))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` calls")]
fn unavailable(error: IoError) -> Error {
    Error::Unavailable(error.to_string())
}
