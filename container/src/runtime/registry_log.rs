//! What the log tells of the registry's answers: each cause now and then, however often they change.

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use imago_kit::LogLimit;
use imago_naming::{Health, Instance, ServiceRegistration, ServiceState, Snapshot, meta_key};
use imago_proto::ServiceId;
use parking_lot::Mutex;

use super::peer_of;
use crate::metrics;

/// How often a line of one cause is logged.
const INTERVAL: Duration = Duration::from_secs(60);
/// Entries that are named each by each; ids of more, which may be new each time, share a line.
const NAMED: usize = 20;

/// How often the log tells of an attempt that fails again and again: at intervals that grow up to this.
pub(super) fn of_retries() -> LogLimit {
    LogLimit::growing(Duration::from_secs(1), INTERVAL)
}

/// Tells of a registry's answers.
#[derive(Debug)]
pub(crate) struct RegistryLog {
    limit: LogLimit,
    /// The same for entries that are not as a server of ours writes its own.
    entries: LogLimit,
    /// Servers in maintenance, as the log has told last.
    in_maintenance: Mutex<BTreeSet<String>>,
}

impl Default for RegistryLog {
    fn default() -> Self {
        Self {
            limit: LogLimit::every(INTERVAL),
            entries: LogLimit::every(INTERVAL).causes(NAMED),
            in_maintenance: Mutex::default(),
        }
    }
}

impl RegistryLog {
    /// Looks at a new answer.
    pub(crate) fn look(&self, snapshot: &Snapshot, own: &ServiceId) {
        if let Some(error) = &snapshot.error {
            metrics::registry_error();
            if let Some(more) = self.limit.allow("unreadable") {
                tracing::warn!(%error, "registry cannot be read, keeping what it said last{more}");
            }
        }
        for instance in snapshot.instances.iter().filter(|it| it.service.id != own.as_str()) {
            self.look_at(&instance.service);
        }
        self.tell_maintenance(&snapshot.instances);
    }

    /// Tells of an entry that is no server of ours, or not as we write it.
    fn look_at(&self, service: &ServiceRegistration) {
        let (id, name) = (&service.id, &service.name);
        if peer_of(service).is_none() {
            metrics::foreign_entry();
            if let Some(more) = self.entries.allow(&format!("foreign {id}")) {
                let (protocol, incarnation) =
                    (service.meta(meta_key::PROTOCOL), service.meta(meta_key::INCARNATION));
                tracing::warn!(
                    service = name, entry = ?id, ?protocol, ?incarnation,
                    "registry entry without a protocol and the incarnation of a server: not a server of ours, ignored{more}"
                );
            }
            return;
        }
        let state = service.meta(meta_key::SERVICE_STATE);
        if state.is_some_and(|state| ServiceState::parse(state).as_str() != state)
            && let Some(more) = self.entries.allow(&format!("state {id}"))
        {
            tracing::warn!(
                service = name, entry = ?id, ?state,
                "registry entry in a state that is not known, taken for young{more}"
            );
        }
    }

    fn tell_maintenance(&self, instances: &[Instance]) {
        let now = in_maintenance(instances).map(|it| it.service.id.clone()).collect();
        let mut told = self.in_maintenance.lock();
        let before = std::mem::replace(&mut *told, now);
        for id in told.difference(&before) {
            self.maintenance(true, id);
        }
        for id in before.difference(&told) {
            self.maintenance(false, id);
        }
    }

    fn maintenance(&self, begins: bool, id: &str) {
        let Some(more) = self.limit.allow(&format!("maintenance {begins} {id}")) else { return };
        match begins {
            true => {
                tracing::info!(peer = ?id, "maintenance begins: nothing new for this server{more}")
            }
            false => tracing::info!(peer = ?id, "maintenance ends{more}"),
        }
    }

    /// Tells that a server vanished from the registry while its link is alive.
    pub(crate) fn vanished(&self, server: &ServiceId) {
        if let Some(more) = self.limit.allow(&format!("vanished {server}")) {
            tracing::warn!(%server, "not in the registry any more, but its link is alive: keeping it{more}");
        }
    }

    /// Tells of a read that failed.
    pub(crate) fn failed(&self, error: &dyn Display, what: &'static str) {
        metrics::registry_error();
        if let Some(more) = self.limit.allow(what) {
            tracing::warn!(%error, "{what}{more}");
        }
    }
}

/// Instances that an operator has put into maintenance.
pub(crate) fn in_maintenance(instances: &[Instance]) -> impl Iterator<Item = &Instance> {
    instances.iter().filter(|instance| instance.health == Health::Maintenance)
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use tracing::Level;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn entry(id: &str, meta: &[(&str, &str)], health: Health) -> Instance {
        let mut service = ServiceRegistration::new(id, "chat", "127.0.0.1", 1);
        for (key, value) in meta {
            service = service.with_meta(*key, *value);
        }
        Instance { service, health }
    }

    /// A server of ours.
    fn server(id: &str, health: Health) -> Instance {
        let meta = [("protocol", "imago-link"), ("incarnation", "00000000000000aa")];
        entry(id, &meta, health)
    }

    /// The log of these answers, one after the other, over and over.
    fn logged(answers: &[Snapshot]) -> Vec<String> {
        let (log, lines) = (RegistryLog::default(), Lines::default());
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for answer in answers.iter().cycle().take(100) {
                log.look(answer, &"own".into());
            }
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn lists(instances: &[Instance]) -> Snapshot {
        Snapshot { instances: instances.to_vec().into(), error: None }
    }

    #[test]
    fn what_is_no_server_of_ours_is_named_once() {
        let passing = Health::Passing;
        let lines = logged(&[lists(&[
            server("fine", passing),
            entry("own", &[], passing),
            entry("bare", &[], passing),
            entry("lifeless", &[("protocol", "imago-link")], passing),
            entry("speechless", &[("incarnation", "00000000000000aa")], passing),
            entry("mute", &[("incarnation", "00000000000000aa"), ("protocol", "")], passing),
            entry("other", &[("incarnation", "soon"), ("protocol", "http")], passing),
        ])]);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        for id in ["bare", "lifeless", "speechless", "mute", "other"] {
            let named = |line: &&String| line.contains(&format!("entry=\"{id}\""));
            let line = lines.iter().find(named).unwrap_or_else(|| panic!("{id}: {lines:#?}"));
            assert!(line.contains("not a server of ours"), "{line}");
        }
    }

    #[test]
    fn ids_that_are_new_each_time_flood_no_log() {
        let foreign = |number: u32| lists(&[entry(&number.to_string(), &[], Health::Passing)]);
        let lines = logged(&(0..100).map(foreign).collect::<Vec<_>>());
        assert_eq!(lines.len(), NAMED + 1, "{lines:#?}");
    }

    #[test]
    fn a_state_that_is_not_known_is_taken_for_young_and_named_once() {
        let mut strange = server("strange", Health::Passing);
        strange.service = strange.service.with_meta(meta_key::SERVICE_STATE, "ADULT");
        let lines = logged(&[lists(&[strange])]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("taken for young") && lines[0].contains("ADULT"), "{lines:#?}");
    }

    #[test]
    fn maintenance_and_failed_reads_that_flap_are_told_once_each() {
        let error = Some("500: no leader".into());
        let answers = [
            lists(&[server("a", Health::Maintenance)]),
            lists(&[server("a", Health::Passing)]),
            Snapshot { error, ..lists(&[server("a", Health::Passing)]) },
        ];
        let lines = logged(&answers);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[0].contains("maintenance begins"), "{lines:#?}");
        assert!(lines[1].contains("maintenance ends"), "{lines:#?}");
        assert!(lines[2].contains("500: no leader"), "{lines:#?}");
    }
}
