//! A session as the directory holds it: in few pieces of memory, as there may be a million of them.

use imago_container::PeerId;
use imago_kit::unix_nanos;
use imago_proto::{Account, App, SessionId, SessionView, Stamp, link};

use crate::store::Device;

/// One connected client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The gateway that holds the connection.
    pub gateway: PeerId,
    /// Its number at the gateway.
    pub id: SessionId,
    /// Its account.
    pub account: Account,
    /// Tenant.
    pub app: App,
    /// Time of the login by the gateway's clock, in Unix nanoseconds. For information only.
    pub login_time: i64,
    /// The stamp of its login. Of two sessions in one scope, the one with the higher stamp stays.
    pub order: Stamp,
    /// Time of the login by this server's clock, in Unix nanoseconds.
    pub since: i64,
    texts: Texts,
    tags: Box<[Box<str>]>,
}

/// Texts that are rarely read, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Texts {
    all: Box<str>,
    /// Where each but the last ends.
    ends: [u32; 5],
}

// === impl Session ===

impl Session {
    /// Creates a session that its gateway tells now.
    pub fn from_link(gateway: &PeerId, told: &link::Session) -> Self {
        let app = App::from(told.app.as_str());
        Self::from_view(gateway, &SessionView::of(told), app, unix_nanos())
    }

    /// Creates a session of a batch that its gateway tells now.
    pub(super) fn told(gateway: &PeerId, told: &SessionView<'_>) -> Self {
        Self::from_view(gateway, told, told.app.into(), unix_nanos())
    }

    /// Creates a session of this app that was told at `now`.
    pub(super) fn from_view(gateway: &PeerId, told: &SessionView<'_>, app: App, now: i64) -> Self {
        let since = match told.age {
            0 => told.login_time,
            age => now.saturating_sub(age),
        };
        let channel = told.channel_id(gateway.service_id.as_str());
        Self {
            gateway: gateway.clone(),
            id: SessionId(told.id),
            account: told.account.into(),
            app,
            login_time: told.login_time,
            order: Stamp(told.order),
            since,
            texts: Texts::new([
                &*channel,
                told.device,
                told.zone,
                told.isp,
                told.remote,
                told.replaces,
            ]),
            tags: told.tags.iter().map(|tag| (*tag).into()).collect(),
        }
    }

    /// Returns the session as links tell it, without an age, because it may be read at any later time.
    pub(super) fn to_link(&self) -> link::Session {
        link::Session {
            id: self.id.0,
            channel_id: self.channel().to_owned(),
            account: self.account.to_string(),
            app: self.app.to_string(),
            device: self.device().to_owned(),
            login_time: self.login_time,
            age: 0,
            order: self.order.0,
            replaces: self.replaces().to_owned(),
            zone: self.zone().to_owned(),
            isp: self.isp().to_owned(),
            tags: self.tags().map(str::to_owned).collect(),
            remote: self.remote().to_owned(),
        }
    }

    /// Returns its name on the client's wire, an [`imago_proto::ChannelId`].
    pub fn channel(&self) -> &str {
        self.texts.get(0)
    }

    /// Returns the name of the device, or an empty text.
    pub fn device(&self) -> &str {
        self.texts.get(1)
    }

    /// Returns the zone that the client named.
    pub fn zone(&self) -> &str {
        self.texts.get(2)
    }

    /// Returns the network provider that the client named.
    pub fn isp(&self) -> &str {
        self.texts.get(3)
    }

    /// Returns the address that the client connected from.
    pub fn remote(&self) -> &str {
        self.texts.get(4)
    }

    /// Returns the channel that its client had before, or an empty text. That session loses against this one.
    pub fn replaces(&self) -> &str {
        self.texts.get(5)
    }

    /// Returns whether it stays, and another session in the same scope ends: it names the other one, or is not
    /// named by it and has the later login. Ties are broken by channel id, alike on all servers.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        let names = |one: &Self, other: &Self| {
            !one.replaces().is_empty() && one.replaces() == other.channel()
        };
        match (names(self, other), names(other, self)) {
            (true, false) => true,
            (false, true) => false,
            _ => (self.order, self.channel()) > (other.order, other.channel()),
        }
    }

    /// Iterates over the tags that the client named.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|tag| &**tag)
    }
}

impl From<&Session> for Device {
    fn from(session: &Session) -> Self {
        Self {
            app: session.app.clone(),
            account: session.account.clone(),
            name: session.device().into(),
        }
    }
}

// === impl Texts ===

impl Texts {
    fn new(texts: [&str; 6]) -> Self {
        let mut all = String::with_capacity(texts.iter().map(|text| text.len()).sum());
        let mut ends = [0; 5];
        let mut each = texts.into_iter();
        for (end, text) in ends.iter_mut().zip(&mut each) {
            all.push_str(text);
            // Fits: a link's frame is far shorter than 4 GiB.
            *end = all.len() as u32;
        }
        all.extend(each);
        Self { all: all.into(), ends }
    }

    fn get(&self, number: usize) -> &str {
        let end = |number: usize| self.ends.get(number).map(|end| *end as usize);
        let start = number.checked_sub(1).and_then(end).unwrap_or(0);
        self.all.get(start..end(number).unwrap_or(self.all.len())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use imago_proto::Incarnation;

    use super::*;

    #[test]
    fn each_text_of_a_session_is_found_empty_or_not() {
        let gateway = PeerId { service_id: "gate".into(), incarnation: Incarnation(1) };
        for (device, zone, isp) in [("phone", "east", "net"), ("", "", ""), ("phone", "", "net")] {
            let told = link::Session {
                channel_id: "gate_ann_1".to_owned(),
                device: device.to_owned(),
                zone: zone.to_owned(),
                isp: isp.to_owned(),
                tags: vec!["a".to_owned(), String::new()],
                remote: "192.0.2.1:4".to_owned(),
                replaces: "gate_ann_0".to_owned(),
                ..link::Session::default()
            };
            let session = Session::from_link(&gateway, &told);
            assert_eq!((session.channel(), session.remote()), ("gate_ann_1", "192.0.2.1:4"));
            assert_eq!(session.replaces(), "gate_ann_0");
            assert_eq!((session.device(), session.zone(), session.isp()), (device, zone, isp));
            assert_eq!(session.tags().collect::<Vec<_>>(), ["a", ""]);
        }
    }
}
