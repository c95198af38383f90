//! Functions of chance: newuuid(), rand(), traceid().
//!
//! Rules have no chance of their own. What looks random is a hash of the service's seed, the message,
//! the rule and the number of the draw: two draws differ, and evaluating a message again gives the same.

use sha2::Sha256;
use sha2::digest::Digest;
use uuid::Uuid;

use super::{Operand, Scope};
use crate::message::Message;
use crate::rules::sql::eval::undefined;
use crate::rules::sql::number::{Decimal, Number};
use crate::rules::sql::value::Value;

/// 2^-53, the distance of the doubles that rand() chooses from.
const STEP: f64 = 1.0 / 9_007_199_254_740_992.0;

/// A random UUID of version 4.
pub(super) fn newuuid<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    scope.text(uuid(draw(scope)).to_string())
}

/// A double from 0 on and below 1.
pub(super) fn rand<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let [bytes @ .., _, _, _, _, _, _, _, _] = draw(scope);
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds exactly")]
    let value = (u64::from_be_bytes(bytes) >> 11) as f64 * STEP;
    let number = Decimal::from_f64(value).map(|number| scope.version().value(Number::Decimal(number)));
    std::borrow::Cow::Owned(number.unwrap_or(Value::Undefined))
}

/// The message's trace id, the same for all rules; Undefined unless the message came over MQTT.
pub(super) fn traceid<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let message = scope.message();
    if message.origin.client_id.is_none() {
        return undefined();
    }
    scope.text(trace_id(message, scope.site().seed).to_string())
}

/// The id that everything done for `message` can be found by.
pub(crate) fn trace_id(message: &Message, seed: u128) -> Uuid {
    message.origin.trace_id.unwrap_or_else(|| uuid(first_half(seeded(message, seed))))
}

fn draw(scope: &Scope<'_>) -> [u8; 16] {
    let site = scope.site();
    let hash = seeded(scope.message(), site.seed).chain_update(site.rule.as_bytes());
    first_half(hash.chain_update(scope.run.next_draw().to_be_bytes()))
}

/// No two messages of a service share their processing time; the rest is for services whose clocks
/// agree to the nanosecond.
fn seeded(message: &Message, seed: u128) -> Sha256 {
    let client = message.origin.client_id.as_deref().unwrap_or_default();
    Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(message.received.nanos().to_be_bytes())
        .chain_update([u8::from(message.origin.client_id.is_some())])
        .chain_update(client.len().to_be_bytes())
        .chain_update(client)
        .chain_update(message.topic.as_str().len().to_be_bytes())
        .chain_update(message.topic.as_str())
}

fn first_half(hash: Sha256) -> [u8; 16] {
    let whole = hash.finalize();
    let mut half = [0_u8; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

fn uuid(bytes: [u8; 16]) -> Uuid {
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
