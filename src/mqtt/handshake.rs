//! CONNECT and its answer: from a new socket to a session, within a deadline.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::broker::Shared;
use super::clients::{Arrival, Found, Peer};
use super::codec::{Codec, NoConnect, decode_connect};
use super::counters::Refusal;
use super::error::{Reason, Violation};
use super::keeper;
use super::kept::Kept;
use super::ledger::Presence;
use super::mailbox::Mailbox;
use super::options::BrokerOptions;
use super::packet::{ConnAck, Connect, Reply, Version, Will};
use super::reader::Reader;
use super::session::Session;
use crate::message::QoS;

/// Why a socket did not become a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// No whole CONNECT came in time.
    #[error("no CONNECT came in time")]
    Late,
    /// The client closed the socket first.
    #[error("the client closed the socket before its CONNECT was complete")]
    Closed,
    /// The socket failed.
    #[error("the socket failed during the handshake: {0}")]
    Broken(#[from] std::io::Error),
    /// The CONNECT asks for a version other than 3.1.1 and 5.
    #[error("the client speaks neither MQTT 3.1.1 nor MQTT 5")]
    Version,
    /// The CONNECT cannot be accepted.
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl Refused {
    /// What metrics call it.
    pub(crate) fn kind(&self) -> Refusal {
        match self {
            Self::Late => Refusal::Late,
            Self::Closed | Self::Broken(_) => Refusal::Gone,
            Self::Version => Refusal::Version,
            Self::Violation(_) => Refusal::Refused,
        }
    }
}

/// Reads the CONNECT; on refusal, answers as far as the client can be answered.
///
/// # Errors
/// When the socket does not become a session.
pub(crate) async fn greet<R, W>(
    broker: &Shared,
    reader: &mut Reader<R>,
    writer: &mut W,
) -> Result<Connect, Refused>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let options = &broker.options;
    let blind = |version| Codec::new(version, options.packet_bytes_max, usize::MAX);
    let (codec, reason, refused) = match receive(broker, reader).await {
        Ok(connect) => match check(&connect, options) {
            Ok(()) => return Ok(named(connect)),
            Err(violation) => (connect.codec(options), violation.reason, Refused::Violation(violation)),
        },
        Err(NotReceived::Connect(NoConnect::Unsupported { later })) => {
            let version = if later { Version::V5 } else { Version::V311 };
            (blind(version), Reason::UnsupportedVersion, Refused::Version)
        }
        // 3.1.1 has no return code for a CONNECT that is wrong: the server just closes (4.8).
        Err(NotReceived::Connect(NoConnect::Wrong { version: Some(Version::V5), violation })) => {
            (blind(Version::V5), violation.reason, Refused::Violation(violation))
        }
        Err(NotReceived::Connect(NoConnect::Wrong { violation, .. })) => return Err(violation.into()),
        Err(NotReceived::Refused(refused)) => return Err(refused),
    };
    refuse(broker, &codec, reason, &refused, writer).await;
    Err(refused)
}

impl Connect {
    /// The codec for what its client is sent.
    pub(crate) fn codec(&self, options: &BrokerOptions) -> Codec {
        let send_bytes_max = usize::try_from(self.packet_bytes_max).unwrap_or(usize::MAX);
        Codec::new(self.version, options.packet_bytes_max, send_bytes_max)
            .explaining(self.problem_information)
    }
}

/// Answers a CONNECT with a refusal.
pub(crate) async fn refuse<W: AsyncWrite + Unpin + Send>(
    broker: &Shared,
    codec: &Codec,
    reason: Reason,
    refused: &Refused,
    writer: &mut W,
) {
    let mut answer = BytesMut::new();
    let reply = Reply::Refuse { reason, text: refused.to_string() };
    if codec.encode(reply, &mut answer).is_ok() {
        // The client may be gone already; the refusal stands all the same.
        let farewell = async {
            writer.write_all(&answer).await?;
            writer.shutdown().await
        };
        let _ = tokio::time::timeout(broker.options.close_timeout, farewell).await;
    }
}

enum NotReceived {
    Connect(NoConnect),
    Refused(Refused),
}

async fn receive<R>(broker: &Shared, reader: &mut Reader<R>) -> Result<Connect, NotReceived>
where
    R: AsyncRead + Unpin + Send,
{
    let options = &broker.options;
    let reading = async {
        loop {
            let connect = decode_connect(&mut reader.buffer, options.packet_bytes_max);
            if let Some(connect) = connect.map_err(NotReceived::Connect)? {
                return Ok(connect);
            }
            match reader.fill().await {
                Ok(0) => return Err(NotReceived::Refused(Refused::Closed)),
                Ok(_) => {}
                Err(error) => return Err(NotReceived::Refused(error.into())),
            }
        }
    };
    tokio::time::timeout(options.handshake_timeout, reading)
        .await
        .unwrap_or(Err(NotReceived::Refused(Refused::Late)))
}

/// Gives a client an id that has none.
fn named(connect: Connect) -> Connect {
    if !connect.client_id.is_empty() {
        return connect;
    }
    let client_id = format!("auto-{}", uuid::Uuid::new_v4().simple());
    Connect { client_id, assigned_id: true, ..connect }
}

/// What a CONNECT may not ask for although it is well formed.
fn check(connect: &Connect, options: &BrokerOptions) -> Result<(), Violation> {
    if connect.authentication_method {
        let what = "extended authentication is not offered";
        return Err(Violation::new(Reason::BadAuthenticationMethod, what));
    }
    if connect.client_id.is_empty() && connect.version == Version::V311 && !connect.clean_start {
        let what = "an empty client id needs clean session set to 1";
        return Err(Violation::new(Reason::ClientIdInvalid, what));
    }
    if connect.client_id.len() > options.client_id_bytes_max {
        let what = format!("a client id has more than {} bytes", options.client_id_bytes_max);
        return Err(Violation::new(Reason::ClientIdInvalid, what));
    }
    connect.will.as_ref().map_or(Ok(()), |will| options.check_will(will))
}

/// A session and what its client has left for the case that it vanishes.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Session,
    pub(crate) will: Option<Arc<Will>>,
}

/// Opens the session of an accepted CONNECT, or goes on with an earlier one, and queues its CONNACK.
///
/// # Errors
/// When the client takes no packet of the CONNACK's size, or an earlier connection of the session does
/// not come to its end.
pub(crate) async fn open(
    broker: &Shared,
    mut connect: Connect,
    address: IpAddr,
) -> Result<Opened, Violation> {
    let options = &broker.options;
    let client_id: Arc<str> = connect.client_id.as_str().into();
    let asked_for = connect.session_expiry_seconds;
    let most = match connect.version {
        Version::V311 => options.persistent_session_seconds,
        Version::V5 => options.session_expiry_seconds_max,
    };
    connect.session_expiry_seconds = asked_for.min(most);
    let asked_keep_alive = connect.keep_alive_seconds;
    connect.keep_alive_seconds = options.keep_alive_seconds(asked_keep_alive, connect.version == Version::V5);
    let will = connect.will.take().map(|mut will| {
        will.origin.client_id = Some(Arc::clone(&client_id));
        will.origin.address = Some(address);
        Arc::new(will)
    });
    let (mailbox, kept) = pick_up(broker, client_id, &connect, will.as_ref(), address).await?;
    let session_present = kept.is_some();
    let session = Session::new(mailbox, kept.unwrap_or_else(Kept::new), address, &connect, options);
    let accepted = session.reply(Reply::ConnAck(ConnAck {
        receive_maximum: options.receive_maximum.max(1),
        packet_bytes_max: u32::try_from(options.packet_bytes_max).unwrap_or(u32::MAX),
        topic_alias_max: options.topic_alias_max,
        qos_max: (options.qos_max < QoS::ExactlyOnce).then_some(options.qos_max),
        keep_alive_seconds: (connect.keep_alive_seconds != asked_keep_alive)
            .then_some(connect.keep_alive_seconds),
        assigned_client_id: connect.assigned_id.then(|| connect.client_id.clone()),
        session_present,
        session_expiry_seconds: (connect.session_expiry_seconds < asked_for)
            .then_some(connect.session_expiry_seconds),
    }));
    if let Err(violation) = accepted {
        let kept = session.take_kept();
        broker.leave(session.number, &session.client_id, kept.into_filters());
        return Err(violation);
    }
    Ok(Opened { session, will })
}

/// The session `connect` goes on with, or a new one; what was found is on disk where it has to be.
async fn pick_up(
    broker: &Shared,
    client_id: Arc<str>,
    connect: &Connect,
    will: Option<&Arc<Will>>,
    address: IpAddr,
) -> Result<(Arc<Mailbox>, Option<Kept>), Violation> {
    let options = &broker.options;
    let patience = options.drain_timeout + options.close_timeout;
    let expiry_seconds = connect.session_expiry_seconds;
    let arrival = Arrival {
        resume: !connect.clean_start,
        lasting: expiry_seconds > 0,
        peer: Peer { address, version: connect.version, since: broker.now() },
    };
    let mailbox = broker.mailbox(client_id, arrival.lasting);
    loop {
        let will = will.map(|will| (Arc::clone(will), None));
        let presence = Presence { expiry_seconds, will, ..Presence::default() };
        let (found, place) = broker.enter(&mailbox, &arrival, presence);
        let opened = match found {
            Found::Session(mailbox, kept) => {
                mailbox.come_back();
                (mailbox, Some(*kept))
            }
            Found::Nothing(ended) => {
                if let Some(will) = ended.and_then(|ended| broker.end(*ended)) {
                    keeper::publish_will(broker, &will).await;
                }
                (Arc::clone(&mailbox), None)
            }
            Found::Occupied(put_down) => {
                if tokio::time::timeout(patience, put_down.cancelled()).await.is_err() {
                    let what = "an earlier connection of this session does not come to its end";
                    return Err(Violation::new(Reason::ServerBusy, what));
                }
                continue;
            }
            Found::Overtaken => {
                let what = "a later connection has taken the client id";
                return Err(Violation::new(Reason::ServerBusy, what));
            }
        };
        // A journal that has failed ends the connection when something is to be acknowledged.
        let _ = tokio::time::timeout(patience, broker.ledger.synced(place)).await;
        return Ok(opened);
    }
}
