//! The bytes by which gateways tell a new logic server of their sessions.

use bytes::{Bytes, BytesMut};
use imago_kit::unix_nanos;
use imago_proto::{
    ChannelId, LinkFrame, SessionBatch, Stamp,
    link::{Session, SessionsUp, SyncBegin, SyncEnd, frame::Kind},
};

use crate::client::target::Target;

/// For each gateway, what it sends for its share of this number of sessions.
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
    LinkFrame::new(Kind::SyncBegin(SyncBegin {})).encode(&mut bytes);
    let (mut batch, mut left) = (SessionBatch::new(name), accounts.len());
    for (number, account) in (1..).zip(accounts) {
        batch.push(&session(name, number, account));
        if batch.is_full() || number == accounts.len() as u64 {
            let batched = batch.len();
            let now = unix_nanos();
            let head = SessionsUp { left: left as u64, now, stamp: Stamp::at(now).0 };
            batch.take().frame(head).encode(&mut bytes);
            left -= batched;
        }
    }
    let end = Kind::SyncEnd(SyncEnd { sessions: accounts.len() as u64 });
    LinkFrame::new(end).encode(&mut bytes);
    bytes.freeze()
}

/// A session as a gateway tells it: of the same length in each field.
fn session(gateway: &str, id: u64, account: &str) -> Session {
    let login_time = unix_nanos();
    Session {
        id,
        channel_id: ChannelId::made(gateway, account, id).to_string(),
        account: account.to_owned(),
        app: "bench".to_owned(),
        login_time,
        order: Stamp::at(login_time).0,
        remote: "127.0.0.1:50000".to_owned(),
        ..Session::default()
    }
}

#[cfg(test)]
mod tests {
    use imago_proto::{Limits, LinkDecoder, session_views};

    use super::*;

    #[test]
    fn each_session_of_a_gateway_is_told_between_begin_and_end() {
        let accounts = ["anna".to_owned(), "bert".to_owned()];
        let mut bytes = BytesMut::from(of_gateway("edge", &accounts));
        let mut decoder = LinkDecoder::new(Limits::default());
        let (mut kinds, mut sessions) = (Vec::new(), Vec::new());
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            sessions.extend(
                session_views(&frame.payload, 0).map(|view| view.unwrap().to_session("edge")),
            );
            kinds.push(frame.kind);
        }
        let [Kind::SyncBegin(_), Kind::SessionsUp(SessionsUp { left: 2, .. }), Kind::SyncEnd(end)] =
            &kinds[..]
        else {
            panic!("{kinds:?}");
        };
        let [anna, _] = &sessions[..] else { panic!("{sessions:?}") };
        assert_eq!((&*anna.account, &*anna.channel_id), ("anna", "edge_anna_0000000000000001"));
        assert_eq!(end.sessions, 2);
    }
}
