//! The bytes by which gateways tell a new logic server of their sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use imago_proto::{
    LinkFrame,
    link::{Session, SessionUp, SyncBegin, SyncEnd, frame::Kind},
};

use super::super::Target;

/// For each gateway, what it sends for its share of so many sessions.
pub(super) fn sync_bytes(target: &Target, sessions: usize) -> anyhow::Result<Vec<Bytes>> {
    let gateways = target.gateways.len();
    let names = target.members.iter().filter(|member| member.ws.is_some());
    let names: Vec<&str> = names.map(|member| member.id.as_str()).collect();
    let mut all = Vec::with_capacity(gateways);
    for gateway in 0..gateways {
        let name = names.get(gateway).copied().unwrap_or("gateway-1");
        let accounts = (gateway..sessions).step_by(gateways).map(|number| target.account(number));
        all.push(of_gateway(name, &accounts.collect::<anyhow::Result<Vec<_>>>()?));
    }
    Ok(all)
}

fn of_gateway(name: &str, accounts: &[String]) -> Bytes {
    let mut bytes = BytesMut::new();
    let mut put = |kind: Kind| LinkFrame::new(kind).encode(&mut bytes);
    put(Kind::SyncBegin(SyncBegin {}));
    for (number, account) in (1..).zip(accounts) {
        put(Kind::SessionUp(SessionUp { session: Some(session(name, number, account)) }));
    }
    put(Kind::SyncEnd(SyncEnd { sessions: accounts.len() as u64 }));
    bytes.freeze()
}

/// A session as a gateway tells it: of the same length in each field.
fn session(gateway: &str, id: u64, account: &str) -> Session {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Session {
        id,
        channel_id: format!("{gateway}_{account}_{id:016x}"),
        account: account.to_owned(),
        app: "bench".to_owned(),
        login_time: nanos(now),
        remote: "127.0.0.1:50000".to_owned(),
        age: nanos(Duration::from_secs(10)),
        ..Session::default()
    }
}

#[cfg(test)]
mod tests {
    use imago_proto::{Limits, LinkDecoder};

    use super::*;

    #[test]
    fn each_session_of_a_gateway_is_told_between_begin_and_end() {
        let accounts = ["anna".to_owned(), "bert".to_owned()];
        let mut bytes = BytesMut::from(of_gateway("edge", &accounts));
        let mut decoder = LinkDecoder::new(Limits::default());
        let mut kinds = Vec::new();
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            kinds.push(frame.kind);
        }
        let [Kind::SyncBegin(_), Kind::SessionUp(anna), Kind::SessionUp(_), Kind::SyncEnd(end)] =
            &kinds[..]
        else {
            panic!("{kinds:?}");
        };
        let anna = anna.session.as_ref().unwrap();
        assert_eq!((&*anna.account, &*anna.channel_id), ("anna", "edge_anna_0000000000000001"));
        assert_eq!(end.sessions, 2);
    }
}
