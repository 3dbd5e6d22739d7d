//! Changing one field of a message by its path.

use std::collections::HashMap;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

/// The field at a path.
pub(super) fn field(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    match path.split_once('.') {
        None => message.get_field_by_name(path),
        Some((first, rest)) => match message.get_field_by_name(first)?.kind() {
            Kind::Message(inner) => field(&inner, rest),
            _ => None,
        },
    }
}

/// Changes the field at a path; of a list on the way its first element.
pub(super) fn at(message: &mut DynamicMessage, path: &str, change: &dyn Fn(&FieldDescriptor, &mut Value)) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.descriptor().get_field_by_name(first).expect(path);
    let value = message.get_field_mut(&field);
    let Some(rest) = rest else { return change(&field, value) };
    let Kind::Message(inner) = field.kind() else { panic!("{path}: {first} is no message") };
    let element = match value {
        Value::List(list) => {
            if list.is_empty() {
                list.push(Value::Message(DynamicMessage::new(inner)));
            }
            &mut list[0]
        }
        other => other,
    };
    let Value::Message(inner) = element else { panic!("{path}: {first} is no message") };
    at(inner, rest, change);
}

/// Makes a value another one.
pub(super) fn change(field: &FieldDescriptor, value: &mut Value) {
    match value {
        Value::Bool(bit) => *bit = !*bit,
        Value::I32(number) | Value::EnumNumber(number) => *number += 1,
        Value::I64(number) => *number += 1,
        Value::U32(number) => *number += 1,
        Value::U64(number) => *number += 1,
        Value::F32(number) => *number += 1.0,
        Value::F64(number) => *number += 1.0,
        Value::String(text) => text.push('x'),
        Value::Bytes(bytes) => *bytes = [bytes.as_ref(), b"x"].concat().into(),
        Value::Message(message) => *message = full(&message.descriptor()),
        Value::List(list) => list.push(element(&field.kind())),
        Value::Map(map) => drop(map.insert(MapKey::String("x".into()), Value::String("x".into()))),
    }
}

/// A message with every field set.
fn full(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = if field.is_map() {
            Value::Map(HashMap::from([(MapKey::String("x".into()), Value::String("x".into()))]))
        } else if field.is_list() {
            Value::List(vec![element(&field.kind())])
        } else {
            element(&field.kind())
        };
        message.set_field(&field, value);
    }
    message
}

fn element(kind: &Kind) -> Value {
    match kind {
        Kind::Message(descriptor) => Value::Message(full(descriptor)),
        Kind::Enum(_) => Value::EnumNumber(1),
        other => {
            let mut value = Value::default_value(other);
            match &mut value {
                Value::Bool(bit) => *bit = true,
                Value::I32(number) => *number = 1,
                Value::I64(number) => *number = 1,
                Value::U32(number) => *number = 1,
                Value::U64(number) => *number = 1,
                Value::String(text) => "x".clone_into(text),
                Value::Bytes(bytes) => *bytes = b"x".as_slice().into(),
                rest => panic!("no sample of {rest:?}"),
            }
            value
        }
    }
}
