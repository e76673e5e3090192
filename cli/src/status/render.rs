//! What people see of a cluster.

use std::{collections::BTreeSet, time::Duration};

use imago_container::monitor::PeersReport;
use imago_kit::Redacted;
use imago_local::{printable, table};

use super::crawl::{Member, Seen, name_of};

pub(super) fn render(seen: &Seen) -> String {
    let mut rows = Vec::new();
    let mut notes = BTreeSet::new();
    // A member is reached by several names, perhaps.
    let mut shown = BTreeSet::new();
    for report in seen.values().filter_map(|member| member.report.as_ref().ok()) {
        if shown.insert((&report.own.id, &report.own.incarnation)) {
            rows.push(row(report));
            notes.extend(waits(report));
        }
    }
    rows.sort();
    let headings =
        ["ROLE", "SERVER", "STATE", "ADDRESS", "UP", "SESSIONS", "LINKS", "QUEUED", "PENDING"];
    let mut text = table(&headings, &rows);
    for note in unanswered(seen).into_iter().chain(notes) {
        text.push_str(&format!("! {}\n", printable(&note)));
    }
    text
}

/// Members that do not answer, with the reason.
pub(super) fn unanswered(seen: &Seen) -> Vec<String> {
    let why = |(url, member): (&String, &Member)| {
        let why = member.report.as_ref().err()?;
        let at = match &member.name {
            Some(name) => format!("{} {} at {}", name.role, name.id, Redacted(url)),
            None => Redacted(url).to_string(),
        };
        Some(printable(&format!("{at} {why}")))
    };
    seen.iter().filter_map(why).collect()
}

fn row(report: &PeersReport) -> Vec<String> {
    let own = &report.own;
    let linked = report.peers.iter().filter(|peer| peer.linked).count();
    let queued: usize = report.peers.iter().map(|peer| peer.queue_frames).sum();
    let pending: usize = report.peers.iter().map(|peer| peer.pending).sum();
    let cells = [
        own.role.clone(),
        own.id.clone(),
        own.state.clone(),
        own.address.clone(),
        imago_kit::bounded::in_words(Duration::from_secs(own.uptime_seconds as u64)),
        own.sessions.map_or_else(|| "-".to_owned(), |sessions| sessions.to_string()),
        format!("{linked}/{}", report.peers.len()),
        queued.to_string(),
        pending.to_string(),
    ];
    cells.iter().map(|cell| printable(cell)).collect()
}

/// Who waits for whom, and what else people should know.
fn waits(report: &PeersReport) -> Vec<String> {
    let own = &report.own;
    let mut notes: Vec<String> = own
        .waiting_for
        .iter()
        .map(|waiting| {
            format!("{} waits for {} for {:.1} s", own.id, waiting.id, waiting.since_seconds)
        })
        .collect();
    if !own.excluded.is_empty() {
        notes.push(format!("{} was promoted without {}", own.id, own.excluded.join(", ")));
    }
    if let Some(trouble) = &own.trouble {
        notes.push(format!("{} is {}: {trouble}", own.id, own.state));
    }
    if let Some(error) = &own.registry_error {
        notes.push(format!("{} cannot read the registry: {error}", own.id));
    }
    for peer in &report.peers {
        notes.extend(peer.no_link().map(|why| format!("{} {why}", own.id)));
        if peer.monitor.is_none() {
            let name = name_of(report, peer);
            notes.push(format!("{} {} names no monitor port", name.role, name.id));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use imago_container::monitor::{LinkFailure, PeerReport, SelfReport, Waiting};

    use super::{super::crawl::Name, *};

    fn own(id: &str, state: &str) -> SelfReport {
        SelfReport {
            id: id.into(),
            role: "logic".into(),
            state: state.into(),
            ..SelfReport::default()
        }
    }

    fn member(own: SelfReport, peers: Vec<PeerReport>) -> Member {
        Member { name: None, report: Ok(PeersReport { own, peers }) }
    }

    #[test]
    fn the_table_says_who_waits_for_whom() {
        let mut seen = Seen::new();
        let waiting_for = vec![Waiting { id: "gateway-2".into(), since_seconds: 3.21 }];
        let own_2 = SelfReport { waiting_for, ..own("logic-2", "young") };
        seen.insert("http://a".into(), member(own_2, Vec::new()));
        let trouble = Some("message store cannot be written or read: disk full, for 4.0 s".into());
        let own_1 = SelfReport { trouble, ..own("logic-1", "unfit") };
        seen.insert("http://c".into(), member(own_1, Vec::new()));
        let text = render(&seen);
        assert!(text.contains("logic-1  unfit"), "{text}");
        assert!(text.contains("logic-1 is unfit: message store cannot be written"), "{text}");
        assert!(text.contains("logic-2  young"), "{text}");
        assert!(text.contains("logic-2 waits for gateway-2 for 3.2 s"), "{text}");
    }

    #[test]
    fn links_that_do_not_come_up_are_told_with_the_reason() {
        let failure = LinkFailure {
            address: "[::1]:7000".into(),
            why: "cannot connect: refused\u{1b}[2J".into(),
            count: 7,
            since_seconds: 20.04,
            age_seconds: 0.31,
        };
        let monitor = Some("http://b".into());
        let peer = PeerReport {
            id: "gateway-1".into(),
            monitor,
            failure: Some(failure),
            ..PeerReport::default()
        };
        let silent = PeerReport { id: "gateway-2".into(), ..PeerReport::default() };
        let mut seen = Seen::new();
        seen.insert("http://a".into(), member(own("logic-1", "young"), vec![peer, silent]));
        let text = render(&seen);
        let told = "! logic-1 cannot link with gateway-1 at [::1]:7000: cannot connect: \
                    refused\u{fffd}[2J (7 times in 20.0 s, last 0.3 s ago)\n";
        assert!(text.contains(told), "{text}");
        assert!(text.contains("! gateway gateway-2 names no monitor port\n"), "{text}");
    }

    #[test]
    fn members_that_do_not_answer_are_named_as_far_as_they_are_known() {
        let mut seen = Seen::new();
        let report = || Err("does not answer: timed out after 2s".to_owned());
        let name = Some(Name { role: "gateway".into(), id: "gateway-1".into() });
        seen.insert("http://a".into(), Member { name: None, report: report() });
        seen.insert("http://b".into(), Member { name, report: report() });
        let told = [
            "http://a does not answer: timed out after 2s",
            "gateway gateway-1 at http://b does not answer: timed out after 2s",
        ];
        assert_eq!(unanswered(&seen), told);
        // The same one by two names is one.
        seen.insert("http://c".into(), member(own("logic-1", "adult"), Vec::new()));
        seen.insert("http://d".into(), member(own("logic-1", "adult"), Vec::new()));
        assert_eq!(render(&seen).matches("logic-1").count(), 1);
    }
}
