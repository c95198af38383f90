//! Three loops over one link: what comes, what is handed to the rules, what is acknowledged.
//!
//! The loops hand on through channels with room for [`WAITING_MAX`] each. While the store cannot keep up the
//! first loop stands still, and with it the socket; acknowledging never waits for anything but the disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Shared;
use super::link::{Delivery, Events, Happening, Link, Requests};
use crate::message::{Message, Origin, QoS};
use crate::mqtt::ingest::Receipt;
use crate::shutdown::Shutdown;
use crate::topic::TopicName;

/// Messages that may wait between two loops.
const WAITING_MAX: usize = 256;
/// How long saying goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// A message on its way to the disk.
struct Pending {
    receipt: Receipt,
    /// The packet to acknowledge; none for QoS 0.
    id: Option<u16>,
}

/// One connection at work.
pub(super) struct Transfer<'a> {
    upstream: &'a Shared,
    link: Link,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(upstream: &'a Shared, link: Link) -> Self {
        Self { upstream, link }
    }

    /// Works until the connection is lost, which gives the reason, or `stop` is requested and what had been
    /// handed to the rules is acknowledged.
    pub(super) async fn run(self, stop: &Shutdown) -> Option<String> {
        let Link { mut events, requests } = self.link;
        let upstream = self.upstream;
        let (to_rules, deliveries) = mpsc::channel(WAITING_MAX);
        let (to_disk, pending) = mpsc::channel(WAITING_MAX);
        let ended = {
            let receiving = receive(upstream, &mut events, &requests, to_rules);
            let working = async {
                let submitted = async {
                    submit(upstream, deliveries, to_disk, stop).await;
                    Ok(())
                };
                // A message that is not stored ends both at once.
                tokio::try_join!(submitted, acknowledge(upstream, pending, &requests)).map(|_| ())
            };
            tokio::select! {
                reason = receiving => Err(reason),
                ended = working => ended,
            }
        };
        if ended.is_ok() {
            goodbye(&mut events, &requests).await;
        }
        ended.err()
    }
}

/// Takes what comes and hands messages on, until the connection is lost; returns why. Once nobody takes
/// messages any more it goes on all the same, for acknowledgements are sent here too.
async fn receive(
    upstream: &Shared,
    events: &mut Events,
    requests: &Requests,
    to_rules: mpsc::Sender<Delivery>,
) -> String {
    loop {
        match events.next().await {
            Ok(Happening::Publish(delivery)) => {
                if to_rules.send(delivery).await.is_err() {
                    debug!("a message that came while stopping will come again");
                }
            }
            Ok(happening) => {
                if let Err(reason) = settle(upstream, requests, happening) {
                    return reason;
                }
            }
            Err(reason) => return reason,
        }
    }
}

/// What follows from everything that is not a message.
fn settle(upstream: &Shared, requests: &Requests, happening: Happening) -> Result<(), String> {
    let options = &upstream.options;
    match happening {
        Happening::Connected => {
            upstream.state.connects.add_one();
            upstream.state.connected(None);
            info!(upstream = options.name, host = options.host, port = options.port, "connected upstream");
            requests.subscribe(options.subscriptions(), options.qos)
        }
        Happening::Subscribed(refusals) => {
            let refused: Vec<String> = (options.filters.iter().zip(refusals))
                .filter_map(|(filter, refusal)| Some(format!("{} ({})", filter.as_str(), refusal?)))
                .collect();
            if refused.is_empty() {
                return Ok(());
            }
            let trouble = format!("the server refused the filters {}", refused.join(", "));
            if refused.len() == options.filters.len() {
                return Err(trouble);
            }
            warn!(upstream = options.name, trouble, "an upstream subscription is not in force");
            upstream.state.connected(Some(trouble));
            Ok(())
        }
        Happening::Publish(_) | Happening::Nothing => Ok(()),
    }
}

/// Hands messages to the rules, in their order, until none come or `stop` is requested.
async fn submit(
    upstream: &Shared,
    mut deliveries: mpsc::Receiver<Delivery>,
    to_disk: mpsc::Sender<Pending>,
    stop: &Shutdown,
) {
    loop {
        let delivery = tokio::select! {
            () = stop.requested() => return,
            delivery = deliveries.recv() => delivery,
        };
        let Some(delivery) = delivery else { return };
        upstream.state.received.add_one();
        let id = (delivery.qos != QoS::AtMostOnce).then_some(delivery.id);
        let message = message(upstream, delivery);
        upstream.state.begun(upstream.clock.now());
        let receipt = match message {
            Some(message) => upstream.ingest.submit(&message).await,
            None => Box::pin(std::future::ready(Ok(()))) as Receipt,
        };
        if to_disk.send(Pending { receipt, id }).await.is_err() {
            return;
        }
    }
}

/// The message rules see; none when they cannot, or have seen it before.
fn message(upstream: &Shared, delivery: Delivery) -> Option<Arc<Message>> {
    if delivery.stored_earlier {
        return None;
    }
    let topic = std::str::from_utf8(&delivery.topic).ok().and_then(|text| TopicName::new(text).ok());
    let Some(topic) = topic else {
        upstream.state.unusable.add_one();
        debug!(upstream = upstream.options.name, "a message has a topic that is not legal");
        return None;
    };
    Some(Arc::new(Message {
        topic,
        payload: delivery.payload,
        qos: delivery.qos,
        retain: false,
        properties: delivery.properties,
        origin: Origin::default(),
        received: upstream.times.next(&*upstream.clock),
    }))
}

/// Acknowledges messages once they are durable, in their order, until no more come.
///
/// # Errors
/// When one could not be stored: it and those after it stay unacknowledged, and come again.
async fn acknowledge(
    upstream: &Shared,
    mut pending: mpsc::Receiver<Pending>,
    requests: &Requests,
) -> Result<(), String> {
    while let Some(Pending { receipt, id }) = pending.recv().await {
        if let Err(error) = receipt.await {
            upstream.state.not_stored.add_one();
            return Err(format!("a message was not stored: {error}"));
        }
        if let Some(id) = id {
            requests.acknowledge(id)?;
        }
        upstream.state.acknowledged.add_one();
        upstream.state.done();
    }
    Ok(())
}

/// Sends what is still to be acknowledged, and DISCONNECT behind it.
async fn goodbye(events: &mut Events, requests: &Requests) {
    let saying = async {
        requests.disconnect()?;
        // The other side closes once it has read everything.
        loop {
            events.next().await?;
        }
    };
    let ended: Result<Result<(), String>, _> = tokio::time::timeout(GOODBYE_WITHIN, saying).await;
    debug!(?ended, "left an upstream broker");
}
