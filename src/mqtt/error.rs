//! Why a connection ends, and the reason code it is told.
//!
//! A [`Violation`] is the client's doing; an [`End`] is any end of a connection. Neither leaves the
//! room: a connection that ends stops nothing but itself.

use std::borrow::Cow;
use std::io;

use super::counters::Disconnection;
use super::ingest::IngestError;

/// The reason codes this broker gives (MQTT 5 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    /// Refused, and no other code says why.
    Unspecified = 0x80,
    /// The packet cannot be parsed.
    MalformedPacket = 0x81,
    /// The packet can be parsed and may not be sent, or not now.
    ProtocolError = 0x82,
    /// The packet is right and this broker cannot carry it out.
    ImplementationSpecific = 0x83,
    /// The CONNECT names a protocol version other than 3.1.1 and 5.
    UnsupportedVersion = 0x84,
    /// The client id is not acceptable.
    ClientIdInvalid = 0x85,
    /// No such user, or not the user's password.
    BadUserNameOrPassword = 0x86,
    /// The client's policy does not allow it.
    NotAuthorized = 0x87,
    /// An earlier connection of the session has not come to its end in time.
    ServerBusy = 0x89,
    /// The daemon stops.
    ShuttingDown = 0x8B,
    /// Extended authentication is not offered.
    BadAuthenticationMethod = 0x8C,
    /// Nothing was heard for one and a half keep-alive times.
    KeepAliveTimeout = 0x8D,
    /// Another connection took the client id.
    TakenOver = 0x8E,
    /// The topic filter is not acceptable.
    TopicFilterInvalid = 0x8F,
    /// The topic name is not acceptable.
    TopicNameInvalid = 0x90,
    /// More publishes in flight than the receive maximum allows.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is zero, too high, or was never given a topic.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than announced.
    PacketTooLarge = 0x95,
    /// A limit of this broker is reached.
    QuotaExceeded = 0x97,
    /// An operator has ended the session.
    AdministrativeAction = 0x98,
    /// The QoS is higher than this broker takes.
    QosNotSupported = 0x9B,
}

/// A rule of the protocol that a client broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Violation {
    /// The code the client is told.
    pub(crate) reason: Reason,
    /// What it did, for the log and for MQTT 5's reason string.
    pub(crate) what: Cow<'static, str>,
}

impl Violation {
    /// A rule broken, told with `reason`.
    pub(crate) fn new(reason: Reason, what: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, what: what.into() }
    }

    /// A packet that cannot be parsed.
    pub(crate) fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::MalformedPacket, what)
    }

    /// A packet that may not be sent, or not now.
    pub(crate) fn protocol(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::ProtocolError, what)
    }
}

/// How a connection came to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The client sent DISCONNECT; `will` when it asked for its will to be published all the same.
    #[error("the client disconnected")]
    Goodbye {
        /// MQTT 5 reason code 0x04.
        will: bool,
    },
    /// The client closed the socket without a DISCONNECT.
    #[error("the client closed the connection without a DISCONNECT")]
    Closed,
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The client broke the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The client was silent for too long.
    #[error("nothing was heard for one and a half times the keep-alive of {seconds} s")]
    Silent {
        /// The keep-alive the client chose.
        seconds: u16,
    },
    /// Another connection came with the same client id.
    #[error("another connection took over the client id")]
    TakenOver,
    /// The client takes its messages too slowly.
    #[error("more messages wait for this client than its outbound queue holds")]
    TooSlow,
    /// An operator has ended the session.
    #[error("the session was ended by an operator")]
    Removed,
    /// A published message was not stored.
    #[error("a published message was not stored: {0}")]
    NotStored(#[from] IngestError),
    /// The daemon stops.
    #[error("the server is shutting down")]
    Stopping,
}

impl End {
    /// The code an MQTT 5 client is told, when it is told anything.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Goodbye { .. } | Self::Closed | Self::Broken(_) => None,
            Self::Violation(violation) => Some(violation.reason),
            Self::Silent { .. } => Some(Reason::KeepAliveTimeout),
            Self::TakenOver => Some(Reason::TakenOver),
            Self::TooSlow => Some(Reason::QuotaExceeded),
            Self::Removed => Some(Reason::AdministrativeAction),
            Self::NotStored(_) => Some(Reason::ImplementationSpecific),
            Self::Stopping => Some(Reason::ShuttingDown),
        }
    }

    /// What metrics call it.
    pub(crate) fn kind(&self) -> Disconnection {
        match self {
            Self::Goodbye { .. } => Disconnection::Client,
            Self::Closed | Self::Broken(_) => Disconnection::Lost,
            Self::Violation(_) => Disconnection::Violation,
            Self::Silent { .. } => Disconnection::KeepAlive,
            Self::TakenOver => Disconnection::TakenOver,
            Self::TooSlow => Disconnection::Slow,
            Self::Removed => Disconnection::Removed,
            Self::NotStored(_) => Disconnection::NotStored,
            Self::Stopping => Disconnection::Stopping,
        }
    }

    /// Whether the will is published. Not when the daemon stops: an orderly stop says nothing about
    /// the device.
    pub(crate) fn wants_will(&self) -> bool {
        !matches!(self, Self::Goodbye { will: false } | Self::Stopping)
    }
}
