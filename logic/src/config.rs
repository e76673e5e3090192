//! Configuration of a logic server.

use std::{net::SocketAddr, time::Duration};

use imago_container::{ContainerConfig, ServerInfo, naming_url};
use imago_kit::{Secret, SecretUrl};
use imago_kit::{
    settings::{Settings, SettingsError},
    telemetry::LogConfig,
};
use imago_naming::Registries;

use crate::{
    DevicePolicy, DirectoryConfig, DirectoryKind, GroupRules,
    service::WorkLimits,
    store::{StoreOptions, sqlite::SqliteOptions},
};

/// The default configuration, with every key explained. The shipped file is compiled in.
pub const DEFAULT_CONFIG: &str = imago_container::LOGIC_DEFAULTS;

/// Bytes of a cluster secret at least: the strength of the HMAC (RFC 2104 §3 asks for no fewer
/// than the hash's 32; 16 still hold against guessing).
pub const SECRET_MIN: usize = 16;

/// The configuration of a logic server.
#[derive(Clone, Debug)]
pub struct LogicConfig {
    /// Its identity.
    pub info: ServerInfo,
    /// Bounds of its container.
    pub container: ContainerConfig,
    /// Name of the cluster.
    pub cluster: String,
    /// Secret of the cluster.
    pub secret: Secret,
    /// URL of the registry.
    pub naming: SecretUrl,
    /// Backends that open it, by scheme.
    pub registries: Registries,
    /// Where it listens for links.
    pub listen: SocketAddr,
    /// Where its monitor port listens.
    pub monitor: SocketAddr,
    /// Token for the monitor port's `/admin` routes.
    pub admin_token: Option<Secret>,
    /// Its message store.
    pub store: StoreOptions,
    /// How long the store may fail before the server reports that it is unfit.
    pub patience: Duration,
    /// How long messages are kept.
    pub retention: Duration,
    /// Its session directory.
    pub directory: DirectoryConfig,
    /// Limits of its work.
    pub limits: WorkLimits,
    /// Rules for groups.
    pub groups: GroupRules,
    /// Its logging.
    pub log: LogConfig,
}

impl LogicConfig {
    /// Reads all keys.
    ///
    /// # Errors
    /// With all errors at once.
    pub fn read(settings: Settings) -> Result<Self, SettingsError> {
        Self::read_with(settings, Registries::default())
    }

    /// Reads all keys; `naming.url` may have the schemes of `registries`.
    ///
    /// # Errors
    /// With all errors at once.
    pub fn read_with(
        mut settings: Settings,
        registries: Registries,
    ) -> Result<Self, SettingsError> {
        let s = &mut settings;
        let secs = Duration::from_secs;
        let localhost = SocketAddr::from(([127, 0, 0, 1], 0));
        let store_url = s.text("store.url");
        let store = StoreOptions::parse(&store_url);
        let store = store.and_then(|options| options.check().map(|()| options));
        let mut store = store.unwrap_or_else(|error| {
            // The report shows the URL itself.
            s.reject("store.url", &error.reason());
            StoreOptions::Sqlite(SqliteOptions::new(""))
        });
        store.bound(
            s.integer("store.batch", 1..=10_000),
            s.integer("store.queue", 1..=1_000_000),
            s.integer("store.readers", 1..=64),
        );
        let directory = read_directory(s);
        let admin_token = s.optional_secret("monitor.admin_token", 16);
        let config = Self {
            info: ServerInfo::read(s),
            container: ContainerConfig::read(s),
            cluster: s.text("cluster.name"),
            secret: s.secret("cluster.secret", SECRET_MIN),
            naming: naming_url(s, &registries),
            registries,
            listen: s.address("listen.link").unwrap_or(localhost),
            monitor: s.address("monitor.listen").unwrap_or(localhost),
            admin_token,
            store,
            patience: s.duration("store.patience", Duration::from_millis(100)..=secs(300)),
            retention: s.duration("store.retention", secs(60)..=secs(3650 * 86_400)),
            directory,
            limits: WorkLimits {
                in_flight: s.integer("limits.in_flight", 1..=10_000_000),
                session_queue: s.integer("limits.session_queue", 1..=65_536),
                handler_timeout: s
                    .duration("limits.handler_timeout", Duration::from_millis(10)..=secs(300)),
            },
            groups: GroupRules {
                members_max: s.integer("groups.members_max", 2..=100_000),
                open_talk: s.flag("groups.open_talk"),
            },
            log: LogConfig::read(s),
        };
        settings.finish()?;
        Ok(config)
    }
}

fn read_directory(s: &mut Settings) -> DirectoryConfig {
    let kind = DirectoryKind::parse(&s.text("directory.url")).unwrap_or_else(|error| {
        s.reject("directory.url", &error);
        DirectoryKind::Replicated
    });
    let devices = s.choice("directory.devices", &DevicePolicy::NAMES);
    DirectoryConfig { kind, devices: DevicePolicy::from_name(&devices).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(file: &str) -> Result<LogicConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logic.toml");
        std::fs::write(&path, file).unwrap();
        let settings = Settings::load(DEFAULT_CONFIG, imago_container::PROGRAMS, Some(&path), &[]);
        settings.and_then(LogicConfig::read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_need_nothing_but_a_secret() {
        let config = read("[cluster]\nsecret = \"0123456789abcdef\"").unwrap();
        let StoreOptions::Sqlite(store) = &config.store else { panic!("{config:?}") };
        assert_eq!(store.path, Path::new("imago.db"));
        assert_eq!(config.patience, Duration::from_secs(2));
        assert_eq!(config.retention, Duration::from_secs(15 * 86_400));
        let (limits, defaults) = (config.limits, WorkLimits::default());
        assert_eq!(limits.in_flight, defaults.in_flight);
        assert_eq!(limits.session_queue, defaults.session_queue);
        assert_eq!(limits.handler_timeout, defaults.handler_timeout);
        assert!(!format!("{config:?}").contains("0123456789abcdef"), "the secret is shown");
        let file =
            "[cluster]\nsecret = \"0123456789abcdef\"\n[naming]\nurl = \"consul://h?token=abc\"";
        let shown = format!("{:?}", read(file).unwrap());
        assert!(shown.contains("consul://h?token=(hidden)"), "{shown}");
    }

    #[test]
    fn the_directory_is_in_memory_unless_it_is_said_to_be_in_redis() {
        let with = |keys: &str| {
            read(&format!("[cluster]\nsecret = \"0123456789abcdef\"\n[directory]\n{keys}"))
        };
        let directory = with("").unwrap().directory;
        assert!(matches!(directory.kind, DirectoryKind::Replicated));
        assert_eq!(directory.devices, DevicePolicy::Unlimited);
        let config =
            with("url = \"redis://:hunter2@h:1/3?lease=2s\"\ndevices = \"class\"").unwrap();
        let DirectoryKind::Redis(options) = &config.directory.kind else { panic!("{config:?}") };
        assert_eq!(options.lease, Duration::from_secs(2));
        assert_eq!(config.directory.devices, DevicePolicy::Class);
        assert!(!format!("{config:?}").contains("hunter2"), "the password is shown");
        for url in ["rediss://:hunter2@h", "redis://:hun/ter2@h", "redis://:hun?ter2@h"] {
            let error = with(&format!("url = \"{url}\"")).unwrap_err();
            assert!(error.contains("directory.url"), "{error}");
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_by_key() {
        let file = "[cluster]\nsecret = \"short\"\n[store]\nurl = \"mysql://x\"\nbatch = 0\n\
                    [limits]\nhandler_timeout = \"1ms\"\nin_fligth = 3\n\
                    [directory]\nurl = \"redis://h?leese=1s\"\ndevices = \"two\"";
        let text = read(file).unwrap_err();
        for part in [
            "cluster.secret",
            "store.url",
            "sqlite://",
            "store.batch",
            "limits.handler_timeout",
            "limits.in_fligth",
            "directory.url",
            "unknown parameter leese, expected lease",
            "directory.devices",
            "one of unlimited, class, single",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
