//! Whatever serializes, as a [`Value`]: the order of its keys stays, and expressions are told from text.

use std::fmt::{self, Display};

use serde::Serialize;
use serde::ser::{self, SerializeMap as _};

use super::value::{Entries, Value, Written, marked};

/// Why something has no place in a document.
#[derive(Debug)]
pub(super) struct Unfit(String);

impl Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl ser::Error for Unfit {
    fn custom<T: Display>(message: T) -> Unfit {
        Unfit(message.to_string())
    }
}

pub(super) fn value_of(given: &(impl Serialize + ?Sized)) -> Result<Value, Unfit> {
    given.serialize(Writer)
}

fn whole(n: impl TryInto<i64> + Display + Copy) -> Result<Value, Unfit> {
    let out_of_range = |_| Unfit(format!("{n} is outside −2^63 … 2^63−1; give it as text"));
    n.try_into().map(|n| Value(Written::Int(n))).map_err(out_of_range)
}

/// A value under the name of its variant.
fn variant(name: &'static str, inner: Value) -> Value {
    Value::object([(name, inner)])
}

/// `serde_json::value::RawValue` shows itself as a struct of this name.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

struct Writer;

macro_rules! wholes {
    ($($name:ident $of:ty),+) => {
        $(fn $name(self, n: $of) -> Result<Value, Unfit> { whole(n) })+
    };
}

impl ser::Serializer for Writer {
    type Ok = Value;
    type Error = Unfit;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    wholes!(
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128
    );

    fn serialize_bool(self, b: bool) -> Result<Value, Unfit> {
        Ok(Value::bool(b))
    }

    /// By its shortest text, as serializers to JSON text do: 0.1 stays 0.1.
    fn serialize_f32(self, x: f32) -> Result<Value, Unfit> {
        self.serialize_f64(x.to_string().parse().unwrap_or(f64::NAN))
    }

    fn serialize_f64(self, x: f64) -> Result<Value, Unfit> {
        match x.is_finite() {
            true => Ok(Value(Written::Float(x))),
            false => Err(Unfit(format!("{x} is no number of JSON"))),
        }
    }

    fn serialize_char(self, c: char) -> Result<Value, Unfit> {
        Ok(Value::text(c))
    }

    fn serialize_str(self, text: &str) -> Result<Value, Unfit> {
        Ok(marked(text).map_or_else(|| Value::text(text), Value::from))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Value, Unfit> {
        Ok(Value::list(bytes.iter().map(|b| Value::int(u32::from(*b)))))
    }

    fn serialize_none(self) -> Result<Value, Unfit> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, inner: &T) -> Result<Value, Unfit> {
        value_of(inner)
    }

    fn serialize_unit(self) -> Result<Value, Unfit> {
        Ok(Value::null())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Unfit> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<Value, Unfit> {
        Ok(Value::text(name))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, inner: &T) -> Result<Value, Unfit> {
        value_of(inner)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        inner: &T,
    ) -> Result<Value, Unfit> {
        Ok(variant(name, value_of(inner)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items, Unfit> {
        Ok(Items::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<Items, Unfit> {
        Ok(Items::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items, Unfit> {
        Ok(Items::default())
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Items, Unfit> {
        let variant = Some(name);
        Ok(Items {
            variant,
            ..Items::default()
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields, Unfit> {
        Ok(Fields::default())
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields, Unfit> {
        match name == RAW_VALUE {
            true => Err(Unfit(
                "a raw value is read by nobody here; parse it into a value".to_owned(),
            )),
            false => Ok(Fields::default()),
        }
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Fields, Unfit> {
        let variant = Some(name);
        Ok(Fields {
            variant,
            ..Fields::default()
        })
    }
}

#[derive(Default)]
struct Items {
    variant: Option<&'static str>,
    items: Vec<Value>,
}

impl ser::SerializeSeq for Items {
    type Ok = Value;
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unfit> {
        self.items.push(value_of(item)?);
        Ok(())
    }

    fn end(self) -> Result<Value, Unfit> {
        let list = Value::list(self.items);
        Ok(match self.variant {
            Some(name) => variant(name, list),
            None => list,
        })
    }
}

macro_rules! also_items {
    ($($form:ident $add:ident),+) => {
        $(impl ser::$form for Items {
            type Ok = Value;
            type Error = Unfit;

            fn $add<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unfit> {
                ser::SerializeSeq::serialize_element(self, item)
            }

            fn end(self) -> Result<Value, Unfit> {
                ser::SerializeSeq::end(self)
            }
        })+
    };
}

also_items!(SerializeTuple serialize_element, SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);

#[derive(Default)]
struct Fields {
    variant: Option<&'static str>,
    entries: Entries,
    key: String,
}

impl ser::SerializeMap for Fields {
    type Ok = Value;
    type Error = Unfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unfit> {
        self.key = key_of(value_of(key)?)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        let key = std::mem::take(&mut self.key);
        self.entries.push(key, value_of(value)?);
        Ok(())
    }

    fn end(self) -> Result<Value, Unfit> {
        let map = Value::map(self.entries);
        Ok(match self.variant {
            Some(name) => variant(name, map),
            None => map,
        })
    }
}

/// The text that a key of a map is, as serializers to JSON have it.
fn key_of(key: Value) -> Result<String, Unfit> {
    match key.0 {
        Written::Text(text) => Ok(text),
        Written::Int(n) => Ok(n.to_string()),
        Written::Bool(b) => Ok(b.to_string()),
        Written::Float(x) => Ok(x.to_string()),
        Written::Null | Written::Expr(_) | Written::List(_) | Written::Map(_) | Written::Unfit(_) => Err(Unfit(
            "the keys of a map have to be text, numbers, or true and false".to_owned(),
        )),
    }
}

macro_rules! also_fields {
    ($($form:ident),+) => {
        $(impl ser::$form for Fields {
            type Ok = Value;
            type Error = Unfit;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unfit> {
                self.serialize_entry(key, value)
            }

            fn end(self) -> Result<Value, Unfit> {
                ser::SerializeMap::end(self)
            }
        })+
    };
}

also_fields!(SerializeStruct, SerializeStructVariant);
