//! What became durable: receipts awaited in the order of their publishes, each followed by its fan-out and
//! its acknowledgement, which waits for what the fan-out wrote down.

use super::broker::Shared;
use super::error::End;
use super::session::Session;
use crate::message::QoS;

/// Runs until a receipt fails, or until the session is closed and every receipt has resolved.
///
/// # Errors
/// When a publish was not stored. Neither it nor any after it is acknowledged.
pub(crate) async fn run(broker: &Shared, session: &Session) -> Result<(), End> {
    while let Some(pending) = session.next_pending().await {
        let Some(receipt) = pending.receipt else {
            session.deny(pending.id, &pending.message)?;
            continue;
        };
        if let Err(error) = receipt.await {
            broker.tally.messages_not_stored.add_one();
            return Err(error.into());
        }
        let lasting = session.mailbox.lasting && pending.message.qos == QoS::ExactlyOnce;
        let sender = lasting.then_some((session.number, pending.id));
        let place = broker.fan_out(&pending.message, sender);
        let durable = broker.ledger.durable();
        session.acknowledge(pending.id, &pending.message, place, durable)?;
        if place > durable {
            broker.ledger.room().await;
        }
    }
    Ok(())
}
