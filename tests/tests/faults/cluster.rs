//! A cluster whose links, processes and database can be broken.

use std::path::Path;

use imago_tests::{
    Chronicle, Device, Door, FaultProxy, Kind, Namespace, Pass, PostgresServer, Server, Spec,
    Transport, World, program,
};

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A file that the logic servers share.
    Sqlite,
    /// A PostgreSQL server of its own, behind a proxy.
    Postgres,
}

/// Two gateways and two logic servers. Fields are dropped in their order.
pub(crate) struct Cluster {
    pub(crate) gateways: Vec<Server>,
    pub(crate) logics: Vec<Server>,
    /// Between the gateways and each logic server.
    pub(crate) links: Vec<FaultProxy>,
    pub(crate) postgres: Option<PostgresServer>,
    /// Between the logic servers and PostgreSQL, one for each.
    pub(crate) queries: Vec<FaultProxy>,
    pub(crate) world: World,
    pub(crate) chronicle: Chronicle,
    /// The first gateway is alone in it.
    machine: Option<Namespace>,
}

impl Cluster {
    /// A cluster that is ready.
    pub(crate) async fn start(store: Store) -> Self {
        let mut cluster = Self::empty(World::gossip().await, None);
        if store == Store::Postgres {
            cluster.postgres = Some(PostgresServer::start().await);
        }
        let database = match &cluster.postgres {
            Some(postgres) => Some(postgres.database().await),
            None => None,
        };
        for number in 1..=2 {
            let proxy = FaultProxy::of_links().await;
            let mut settings = vec![("service.port", proxy.port().to_string())];
            if let Some(database) = &database {
                let (queries, url) = behind_proxy(database).await;
                cluster.queries.push(queries);
                settings.push(("store.url", url));
            }
            let settings: Vec<_> =
                settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let logic = cluster.world.logic(&format!("logic-{number}"), &settings).await;
            proxy.lead_to(logic.address("link"));
            cluster.logics.push(logic);
            cluster.links.push(proxy);
        }
        for number in 1..=2 {
            let gateway = cluster.world.gateway(&format!("gateway-{number}"), &[]).await;
            cluster.gateways.push(gateway);
        }
        cluster.ready().await
    }

    /// A cluster whose first gateway is on a machine of its own; where this user may not make one, its
    /// links are cut in place of the machine's cable.
    pub(crate) async fn with_a_machine() -> Self {
        let Some(machine) = Namespace::create() else { return Self::start(Store::Sqlite).await };
        let (near, far) = (machine.near().to_string(), machine.far().to_string());
        let world = World::gossip_at(machine.near()).await;
        let (at_near, at_far) = (format!("{near}:0"), format!("{far}:0"));
        let mut cluster = Self::empty(world, None);
        for number in 1..=2 {
            let settings = [("listen.link", &*at_near), ("service.address", &near)];
            let logic = cluster.world.logic(&format!("logic-{number}"), &settings).await;
            cluster.logics.push(logic);
        }
        let gateway = program("gateway");
        let inside = machine.runs(&gateway, cluster.world.folder());
        let naming = cluster.world.naming().replacen(&near, &far, 1);
        let settings = [
            ("naming.url", &*naming),
            ("listen.ws", &at_far),
            ("listen.tcp", &at_far),
            ("monitor.listen", &at_far),
            ("service.address", &far),
        ];
        for (path, settings) in [(inside.as_path(), &settings[..]), (Path::new(&gateway), &[])] {
            let id = format!("gateway-{}", cluster.gateways.len() + 1);
            let path = path.display().to_string();
            cluster.gateways.push(cluster.world.gateway_by(&path, &id, settings).await);
        }
        cluster.machine = Some(machine);
        cluster.ready().await
    }

    fn empty(world: World, machine: Option<Namespace>) -> Self {
        Self {
            gateways: Vec::new(),
            logics: Vec::new(),
            links: Vec::new(),
            postgres: None,
            queries: Vec::new(),
            world,
            chronicle: Chronicle::default(),
            machine,
        }
    }

    async fn ready(self) -> Self {
        for server in self.gateways.iter().chain(&self.logics) {
            server.ready().await;
        }
        self
    }

    /// The first gateway's machine vanishes, and says nothing.
    pub(crate) fn isolate(&self) {
        match &self.machine {
            Some(machine) => machine.unplug(),
            None => self.links.iter().for_each(|link| link.set_both_for("gateway-1", Pass::Drop)),
        }
    }

    /// The first gateway's machine is back, and everything passes.
    pub(crate) fn heal(&self) {
        if let Some(machine) = &self.machine {
            machine.plug_in();
        }
        self.links.iter().chain(&self.queries).for_each(FaultProxy::heal);
    }

    /// Starts a device that begins with this gateway, and goes to the other one when that is lost.
    pub(crate) fn device(&self, account: &str, name: &str, kind: Kind, gateway: usize) -> Device {
        let mut doors: Vec<Door> = self.gateways.iter().map(Door::from).collect();
        doors.rotate_left(gateway);
        self.device_at(account, name, kind, doors)
    }

    /// Starts a device that knows one gateway only.
    pub(crate) fn device_of(
        &self,
        account: &str,
        name: &str,
        kind: Kind,
        gateway: usize,
    ) -> Device {
        self.device_at(account, name, kind, vec![Door::from(&self.gateways[gateway])])
    }

    fn device_at(&self, account: &str, name: &str, kind: Kind, doors: Vec<Door>) -> Device {
        // Half of the devices on each.
        let transport = match name.len() % 2 {
            0 => Transport::WebSocket,
            _ => Transport::Tcp,
        };
        let (account, device) = (account.to_owned(), name.to_owned());
        let spec = Spec { account, device, kind, transport, doors };
        Device::start(&self.world, spec, &self.chronicle)
    }
}

/// A proxy before a database, and the database's URL through it.
async fn behind_proxy(database: &str) -> (FaultProxy, String) {
    let (front, name) = database.rsplit_once('/').unwrap();
    let (front, address) = front.rsplit_once('@').unwrap();
    let proxy = FaultProxy::of_bytes().await;
    proxy.lead_to(address.to_owned());
    let url = format!("{front}@127.0.0.1:{}/{name}", proxy.port());
    (proxy, url)
}
