//! What became durable: receipts awaited in the order of their publishes, each followed by its
//! acknowledgement and its fan-out.

use super::broker::Shared;
use super::error::End;
use super::session::Session;

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
        session.acknowledge(pending.id, &pending.message)?;
        broker.fan_out(&pending.message);
    }
    Ok(())
}
