//! Between our words and those of AMQP 0-9-1.

use lapin::BasicProperties;
use lapin::message::Delivery as AmqpDelivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::link::{Death, LinkError, Message};
use crate::wire::PROTOCOL_HEADER;

const TRACEPARENT_HEADER: &str = "traceparent";
const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// A name of at most 255 bytes, which is all that AMQP takes.
pub(super) fn short(text: &str) -> Result<ShortString, LinkError> {
    ShortString::try_new(text).map_err(|_| LinkError::Refused {
        what: format!("the name {text}"),
        reason: format!("it has {} bytes, 255 are allowed", text.len()),
    })
}

/// Properties of a message to be published; `number` marks this publish, so that a message that comes back names it. `user` is the
/// connection's own.
pub(super) fn properties(
    message: &Message,
    number: u64,
    user: Option<&ShortString>,
) -> Result<BasicProperties, LinkError> {
    let mode = if message.persistent { PERSISTENT } else { TRANSIENT };
    let mut properties = BasicProperties::default()
        .with_type(short(&message.kind)?)
        .with_message_id(message.id.to_string().into())
        .with_correlation_id(number.to_string().into())
        .with_content_type("application/json".into())
        .with_delivery_mode(mode)
        .with_headers(headers(message));
    if let Some(reply_to) = &message.reply_to {
        properties = properties.with_reply_to(short(reply_to)?);
    }
    if let Some(user) = user {
        properties = properties.with_user_id(user.clone());
    }
    Ok(properties)
}

fn headers(message: &Message) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(PROTOCOL_HEADER.into(), AMQPValue::LongUInt(message.protocol));
    if let Some(traceparent) = &message.traceparent {
        let value = AMQPValue::LongString(traceparent.as_str().into());
        headers.insert(TRACEPARENT_HEADER.into(), value);
    }
    headers
}

/// Which publish a returned message was.
pub(super) fn number_of(returned: &BasicProperties) -> Option<u64> {
    returned.correlation_id().as_ref()?.as_str().parse().ok()
}

/// The message of a delivery; what is missing or strange becomes empty, nil or 0, for the receiver to judge.
pub(super) fn message(delivery: AmqpDelivery) -> Message {
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let header = |name: &str| properties.headers().as_ref().and_then(|all| all.inner().get(name));
    Message {
        kind: text(properties.kind()).unwrap_or_default(),
        id: text(properties.message_id())
            .and_then(|id| id.parse().ok())
            .unwrap_or_default(),
        reply_to: text(properties.reply_to()),
        traceparent: header(TRACEPARENT_HEADER).and_then(as_text),
        protocol: header(PROTOCOL_HEADER).and_then(as_number).unwrap_or(0),
        persistent: *properties.delivery_mode() == Some(PERSISTENT),
        user: text(properties.user_id()),
        body: delivery.data.into(),
    }
}

/// Where a message was given up last; brokers put the newest in front.
pub(super) fn death(delivery: &AmqpDelivery) -> Option<Death> {
    let headers = delivery.properties.headers().as_ref()?.inner();
    let AMQPValue::FieldArray(deaths) = headers.get("x-death")? else {
        return None;
    };
    let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else {
        return None;
    };
    let text = |name: &str| last.inner().get(name).and_then(as_text);
    Some(Death {
        queue: text("queue")?,
        reason: text("reason").unwrap_or_default(),
    })
}

fn as_text(value: &AMQPValue) -> Option<String> {
    let bytes = value.as_long_string()?.as_bytes();
    String::from_utf8(bytes.to_vec()).ok()
}

/// Integers come in many sizes: other clients choose another one than we do.
fn as_number(value: &AMQPValue) -> Option<u32> {
    let number = value
        .as_long_uint()
        .map(i64::from)
        .or_else(|| value.as_long_int().map(i64::from))
        .or_else(|| value.as_long_long_int())
        .or_else(|| value.as_short_uint().map(i64::from))
        .or_else(|| value.as_short_int().map(i64::from))
        .or_else(|| value.as_short_short_uint().map(i64::from))
        .or_else(|| value.as_short_short_int().map(i64::from))?;
    u32::try_from(number).ok()
}
