//! How a member joins: `gossip://ip:port?seed=host:port`.

use std::net::SocketAddr;

use imago_kit::check_host;
use url::Url;

use crate::{Error, Result, location::host_of, params::Params};

/// How a member joins.
#[derive(Clone, Debug)]
pub struct GossipOptions {
    /// UDP address to listen on; port 0: any free one.
    pub listen: SocketAddr,
    /// Address under which the others reach this member; the one listened on otherwise.
    pub advertise: Option<SocketAddr>,
    /// `host:port` of members to join through.
    pub seeds: Vec<String>,
    /// Members of another cluster are ignored.
    pub cluster: String,
}

impl GossipOptions {
    /// Reads `gossip://host:port?seed=host:port&seed=…&advertise=ip:port&cluster=name`.
    pub(crate) fn parse(url: &Url) -> Result<Self> {
        let host = host_of(url, "0.0.0.0")?;
        let ip = host.parse().map_err(|_| {
            Error::Url(format!("host {host}: expected an IP address to listen on, such as 0.0.0.0"))
        })?;
        let mut params = Params::of(url)?;
        let advertise = params.text("advertise")?.map(|text| advertised(&text)).transpose()?;
        let options = Self {
            listen: SocketAddr::new(ip, url.port().unwrap_or(0)),
            advertise,
            seeds: params.all("seed"),
            cluster: params.text("cluster")?.unwrap_or_else(|| "imago".to_owned()),
        };
        for seed in &options.seeds {
            check_seed(seed)?;
        }
        params.finish("seed, advertise or cluster")?;
        Ok(options)
    }
}

fn advertised(text: &str) -> Result<SocketAddr> {
    let address = text.parse().ok();
    let is_reachable = |at: &SocketAddr| at.port() != 0 && !at.ip().is_unspecified();
    address.filter(is_reachable).ok_or_else(|| {
        Error::Url(format!("advertise={text}: expected ip:port under which others reach this one"))
    })
}

fn check_seed(seed: &str) -> Result<()> {
    let is_address = seed.rsplit_once(':').is_some_and(|(host, port)| {
        // An IPv6 address is in brackets: its own colons are no ports.
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.contains(':') && check_host(host).is_ok(),
        };
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_address { Ok(()) } else { Err(Error::Url(format!("seed={seed}: expected host:port"))) }
}
