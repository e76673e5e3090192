//! How a member joins: `gossip://ip:port?seed=host:port`.

use std::net::{IpAddr, SocketAddr};

use imago_kit::{check_reachable, split_authority};

use crate::{Error, RegistryUrl, Result};

/// Why an address cannot be used by a socket of the other family.
const EXPECTED_FAMILY: &str = "expected an address of the family that is listened on, IPv4 or IPv6";

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
    pub(crate) fn read(url: &RegistryUrl) -> Result<Self> {
        let mut parts = url.parts()?;
        let host = parts.host("0.0.0.0")?;
        let ip = host.parse().map_err(|_| {
            let expected = "host: expected an IP address to listen on, such as 0.0.0.0 or [::]";
            Error::Url(expected.to_owned())
        })?;
        let listen = SocketAddr::new(ip, parts.listen_port());
        let advertise = parts.text("advertise")?;
        let advertise = advertise.map(|text| advertised(&text, listen)).transpose()?;
        let options = Self {
            listen,
            advertise,
            seeds: parts.all("seed"),
            cluster: parts.text("cluster")?.unwrap_or_else(|| "imago".to_owned()),
        };
        for seed in &options.seeds {
            // Its text is not repeated: it may hold a secret by mistake.
            options.check_seed(seed).map_err(|why| Error::Url(format!("seed: {why}")))?;
        }
        parts.finish()?;
        Ok(options)
    }

    fn check_seed(&self, seed: &str) -> std::result::Result<(), &'static str> {
        let (host, _) = split_authority(seed)?;
        check_reachable(host)?;
        // A socket of one family sends nothing to the other. A name may have addresses of both.
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_ipv4() != self.listen.is_ipv4() => Err(EXPECTED_FAMILY),
            _ => Ok(()),
        }
    }
}

fn advertised(text: &str, listen: SocketAddr) -> Result<SocketAddr> {
    let address: Option<SocketAddr> = text.parse().ok();
    let address = address.filter(|at| at.port() > 0 && !at.ip().to_canonical().is_unspecified());
    let expected = match address {
        Some(address) if address.is_ipv4() == listen.is_ipv4() => return Ok(address),
        Some(_) => EXPECTED_FAMILY,
        None => "expected the IP:PORT that others reach, as in 10.0.0.5:7946 or [fd00::5]:7946",
    };
    Err(Error::Url(format!("advertise: {expected}")))
}
