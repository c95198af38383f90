//! The life of one connection, from its handshake to its will.
//!
//! Four loops run side by side in one task: reading, awaiting receipts, writing, and keeping time. The
//! first to end ends the connection. Publishes handed over before that still reach their subscribers
//! once they are durable, because the pipeline has them either way.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info, warn};

use super::admission;
use super::broker::Shared;
use super::clients::Absent;
use super::error::{End, Reason};
use super::handshake::{self, Opened, Refused};
use super::inbound::Inbound;
use super::keeper;
use super::listener::Caller;
use super::mailbox::Told;
use super::outbound::Outbound;
use super::packet::Will;
use super::reader::Reader;
use super::receipts;
use super::rights::Rights;
use super::session::Session;
use crate::shutdown::Shutdown;

// Client ids are logged as Rust writes them, because a client may put line ends and escapes into one.

/// Serves one socket to its end.
pub(crate) async fn run<R, W>(broker: &Shared, reader: R, mut writer: W, caller: Caller, shutdown: &Shutdown)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let address = caller.address;
    let mut reader = Reader::new(reader);
    let greeting = async {
        let mut connect = handshake::greet(broker, &mut reader, &mut writer).await?;
        let rights = match admission::admit(broker, &caller, &mut connect).await {
            Ok(rights) => rights,
            Err(violation) => {
                let reason = violation.reason;
                let refused = Refused::Violation(violation);
                let codec = connect.codec(&broker.options);
                handshake::refuse(broker, &codec, reason, &refused, &mut writer).await;
                return Err(refused);
            }
        };
        Ok((connect, rights))
    };
    let greeted = tokio::select! {
        greeted = greeting => greeted,
        () = shutdown.requested() => return,
    };
    let opened = match greeted {
        Ok((connect, rights)) => {
            let codec = connect.codec(&broker.options);
            // Not given up in between: what it picks up it has to put down again.
            let opened = handshake::open(broker, connect, address).await.map_err(Refused::from);
            if let Err(refused @ Refused::Violation(violation)) = &opened
                && violation.reason == Reason::ServerBusy
            {
                handshake::refuse(broker, &codec, violation.reason, refused, &mut writer).await;
            }
            opened.map(|opened| (opened, rights))
        }
        Err(refused) => Err(refused),
    };
    match opened {
        Ok((Opened { session, will }, rights)) => {
            broker.tally.connects.add_one();
            debug!(
                client_id = ?session.client_id, %address, version = ?session.version,
                principal = ?rights.principal, "client connected"
            );
            Box::pin(serve(broker, &session, &rights, reader, writer, will, shutdown)).await;
        }
        Err(refused) => {
            broker.tally.refusals.add(refused.kind());
            log_refusal(broker, address, &refused);
        }
    }
}

fn log_refusal(broker: &Shared, address: IpAddr, refused: &Refused) {
    match refused {
        Refused::Closed | Refused::Broken(_) => debug!(%address, reason = %refused, "handshake failed"),
        _ => {
            if let Some(silenced) = broker.lines.may() {
                info!(%address, reason = %refused, silenced, "handshake failed");
            }
        }
    }
}

async fn serve<R, W>(
    broker: &Shared,
    session: &Session,
    rights: &Rights,
    reader: Reader<R>,
    writer: W,
    will: Option<Arc<Will>>,
    shutdown: &Shutdown,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut inbound = Inbound::new(broker, session, rights, reader);
    let mut outbound = Outbound::new(broker, session, rights, writer);
    let mut receipts = pin!(receipts::run(broker, session));
    let mut receipts_ended = false;
    // Biased, in this order: one wake-up reads what came, acknowledges what became durable, and then
    // writes all of it at once.
    let end = tokio::select! {
        biased;
        told = session.mailbox.told() => match told {
            Told::TakenOver => End::TakenOver,
            Told::TooSlow => End::TooSlow,
            Told::Removed => End::Removed,
        },
        () = shutdown.requested() => End::Stopping,
        end = inbound.run() => end,
        ended = &mut receipts => {
            receipts_ended = true;
            // It ends by itself only with an error: the session is not closed yet.
            ended.err().unwrap_or(End::Closed)
        }
        end = outbound.run() => end,
        () = session.pulse.silent() => End::Silent { seconds: session.keep_alive_seconds },
    };
    let reader = inbound.into_reader();
    outbound.give_back();
    log_end(broker, session, &end);
    session.close();
    let lasts = session.expiry_seconds() > 0 && !matches!(end, End::Removed);
    if !lasts {
        broker.leave(session.number, &session.client_id, session.take_kept().into_filters());
    }

    let options = &broker.options;
    let drain = async {
        if !receipts_ended && let Err(end) = receipts.await {
            warn!(client_id = ?session.client_id, reason = %end, "a publish of a closed connection was not stored");
        }
    };
    let drain = tokio::time::timeout(options.drain_timeout, drain);
    // A client that half-closed its socket may still read the acknowledgements, and when we stop,
    // what we have taken is acknowledged first; the others are told at once.
    let drained = if matches!(end, End::Closed | End::Stopping) {
        let drained = drain.await;
        if let Some(place) = session.last_gate() {
            let _ = tokio::time::timeout(options.drain_timeout, broker.ledger.synced(place)).await;
        }
        let _ = tokio::time::timeout(options.close_timeout, outbound.finish(&end)).await;
        drained
    } else {
        let _ = tokio::time::timeout(options.close_timeout, outbound.finish(&end)).await;
        drop(outbound);
        drain.await
    };
    if drained.is_err() {
        warn!(client_id = ?session.client_id, "gave up waiting for the publishes of a closed connection");
    }
    let will = will.filter(|_| end.wants_will());
    let due = if lasts { put_down(broker, session, will) } else { will };
    if let Some(will) = due {
        keeper::publish_will(broker, &will).await;
    }
    if end.reason().is_some() && !matches!(end, End::Stopping) {
        let _ = tokio::time::timeout(options.close_timeout, reader.discard()).await;
    }
}

/// Puts a session down for the next connection to pick up. What comes back of its will is due now:
/// because it has no delay, or because the session has been replaced.
fn put_down(broker: &Shared, session: &Session, will: Option<Arc<Will>>) -> Option<Arc<Will>> {
    let now = broker.now();
    let after = |seconds: u32| now.saturating_add(i64::from(seconds) * 1_000_000_000);
    let until = after(session.expiry_seconds());
    let (due, later) = match will {
        Some(will) if will.delay_seconds > 0 => {
            let at = after(will.delay_seconds).min(until);
            (None, Some((will, at)))
        }
        will => (will, None),
    };
    let absent = Absent { kept: session.take_kept(), until, will: later };
    match broker.put_down(session.number, &session.client_id, absent) {
        None => due,
        Some(Absent { kept, will, .. }) => {
            broker.leave(session.number, &session.client_id, kept.into_filters());
            session.mailbox.give_up();
            due.or(will.map(|(will, _)| will))
        }
    }
}

fn log_end(broker: &Shared, session: &Session, end: &End) {
    broker.tally.disconnects.add(end.kind());
    let (client_id, address) = (&session.client_id, session.address);
    match end {
        End::Goodbye { .. } | End::Closed | End::Stopping => {
            debug!(?client_id, %address, reason = %end, "client disconnected");
        }
        End::Broken(_) | End::Silent { .. } | End::TakenOver | End::Removed => {
            if let Some(silenced) = broker.lines.may() {
                info!(?client_id, %address, reason = %end, silenced, "client lost");
            }
        }
        End::Violation(_) => {
            if let Some(silenced) = broker.lines.may() {
                info!(?client_id, %address, reason = %end, silenced, "client sent away");
            }
        }
        End::TooSlow | End::NotStored(_) => {
            if let Some(silenced) = broker.lines.may() {
                warn!(?client_id, %address, reason = %end, silenced, "client sent away");
            }
        }
    }
}
