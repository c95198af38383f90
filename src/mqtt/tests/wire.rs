//! Packets as bytes, written by hand: the other side of every test that must not trust a codec.

/// The two-byte length and the text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// A property list with its length in front.
pub(crate) fn properties(list: &[u8]) -> Vec<u8> {
    [&length(list.len())[..], list].concat()
}

fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value % 128).unwrap();
        value /= 128;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// A packet with the first byte `first`.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &length(body.len()), body].concat()
}

/// CONNECT at protocol level `level`, clean, without keep-alive.
pub(crate) fn connect(level: u8, client_id: &str) -> Vec<u8> {
    connect_with(level, client_id, 0b10, 0, &[], &[])
}

/// CONNECT with flags, keep-alive, properties (MQTT 5) and what follows the client id.
pub(crate) fn connect_with(
    level: u8,
    client_id: &str,
    flags: u8,
    keep_alive: u16,
    list: &[u8],
    rest: &[u8],
) -> Vec<u8> {
    let mut body = [&text("MQTT")[..], &[level, flags], &keep_alive.to_be_bytes()].concat();
    if level >= 5 {
        body.extend(properties(list));
    }
    body.extend(text(client_id));
    body.extend(rest);
    packet(0x10, &body)
}

/// PUBLISH without properties, DUP and retain.
pub(crate) fn publish(level: u8, qos: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    publish_with(level, qos << 1, id, topic, &[], payload)
}

/// PUBLISH with flags and properties (MQTT 5).
pub(crate) fn publish_with(
    level: u8,
    flags: u8,
    id: u16,
    topic: &str,
    list: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 0b0110 != 0 {
        body.extend(id.to_be_bytes());
    }
    if level >= 5 {
        body.extend(properties(list));
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

/// SUBSCRIBE to filters with their options.
pub(crate) fn subscribe(level: u8, id: u16, list: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level >= 5 {
        body.extend(properties(list));
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}
