//! Which events of a batch may run side by side, and which stop which.

use std::collections::HashMap;

use oncebox_envelope::EventId;

use crate::record::{Delivery, Part};

/// Positions of parts that are worked on one after the other, in the order of the batch.
pub(crate) type Lane = Vec<usize>;

/// Events that take effect in the order in which they stand: when one of them goes back to the
/// queue, whatever follows it goes back too, since it would overtake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order<'a> {
    /// FIFO: a message group, over records and over the events of each.
    Group(&'a str),
    /// Standard queue: the events of one key within one bundle. They come again together, so to
    /// hold the later ones back costs nothing; between records SQS keeps no order anyway.
    Key(usize, &'a str),
    /// With a gap guard: the numbered events of a key, over records and queues, by their sequence.
    Numbered(&'a str),
}

impl<'a> Order<'a> {
    /// The order that a part stands in, if any.
    pub(crate) fn of(part: &'a Part, delivery: &'a Delivery) -> Option<Self> {
        if let Some(group) = &delivery.record_of(part).group {
            return Some(Self::Group(group));
        }
        let envelope = &part.content.as_ref().ok()?.envelope;
        let key = envelope.partition_key.as_ref()?;
        if delivery.is_gap_guarded && envelope.sequence.is_some() {
            return Some(Self::Numbered(key.as_str()));
        }
        part.element.as_ref().map(|_| Self::Key(part.record, key.as_str()))
    }
}

/// What makes two parts share a lane.
#[derive(PartialEq, Eq, Hash)]
enum Bond<'a> {
    Order(Order<'a>),
    /// Copies of one event, so that they do not race each other.
    Event(EventId),
}

/// Sorts a batch into lanes; lanes stand in the order of their first part. The numbered events of a
/// key that has a gap guard stand in the order of their sequence, in the places that they have.
pub(crate) fn lanes(delivery: &Delivery) -> Vec<Lane> {
    // A lane is known by its first part; a part that is bound to several lanes joins them.
    let mut first: Vec<usize> = (0..delivery.parts.len()).collect();
    let mut bonds: HashMap<Bond<'_>, usize> = HashMap::new();
    for (index, part) in delivery.parts.iter().enumerate() {
        let order = Order::of(part, delivery).map(Bond::Order);
        let event = part.identity().map(|(id, _)| Bond::Event(id));
        for bond in order.into_iter().chain(event) {
            let other = *bonds.entry(bond).or_insert(index);
            let (a, b) = (root(&first, index), root(&first, other));
            first[a.max(b)] = a.min(b);
        }
    }
    let mut lanes: Vec<Lane> = vec![Vec::new(); first.len()];
    for index in 0..first.len() {
        lanes[root(&first, index)].push(index);
    }
    lanes.retain(|lane| !lane.is_empty());
    for lane in &mut lanes {
        sort_numbered(lane, delivery);
    }
    lanes
}

fn sort_numbered(lane: &mut Lane, delivery: &Delivery) {
    let mut places: HashMap<Order<'_>, Vec<usize>> = HashMap::new();
    for (place, index) in lane.iter().enumerate() {
        if let Some(order @ Order::Numbered(_)) = Order::of(&delivery.parts[*index], delivery) {
            places.entry(order).or_default().push(place);
        }
    }
    for places in places.into_values() {
        let mut sorted: Vec<usize> = places.iter().map(|place| lane[*place]).collect();
        sorted.sort_by_key(|index| {
            let content = delivery.parts[*index].content.as_ref().ok();
            content.and_then(|content| content.envelope.sequence)
        });
        for (place, index) in places.into_iter().zip(sorted) {
            lane[place] = index;
        }
    }
}

fn root(first: &[usize], mut index: usize) -> usize {
    while first[index] != index {
        index = first[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::event::sqs::SqsEvent;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Events as (id, key) in records; on FIFO each with its group.
    fn delivery(records: &[(&str, Vec<(u8, &str)>)]) -> Delivery {
        let records = records.iter().enumerate().map(|(index, (group, events))| {
            let envelopes = events.iter().map(|(id, key)| {
                let id = format!("00000000-0000-7000-8000-0000000000{id:02x}");
                let mut envelope = json!({
                    "specversion": "1.0", "id": id, "source": "test", "type": "test.v1",
                    "time": "2026-01-01T00:00:00Z", "data": null,
                });
                if !key.is_empty() {
                    envelope["partitionkey"] = json!(key);
                }
                envelope
            });
            let envelopes: Vec<_> = envelopes.collect();
            let body = match envelopes.as_slice() {
                [single] => single.to_string(),
                several => json!(several).to_string(),
            };
            let arn = if group.is_empty() { "arn:q" } else { "arn:q.fifo" };
            json!({
                "messageId": index.to_string(), "body": body, "eventSourceARN": arn,
                "attributes": { "MessageGroupId": group }, "messageAttributes": {},
            })
        });
        let event = json!({ "Records": records.collect::<Vec<_>>() });
        Delivery::decode(serde_json::from_value::<SqsEvent>(event).unwrap()).unwrap()
    }

    #[test]
    fn on_fifo_a_group_is_one_lane_over_records_and_bundles() {
        let batch = [
            ("a", vec![(1, "x"), (2, "x")]),
            ("b", vec![(3, "y")]),
            ("a", vec![(4, "x")]),
        ];
        assert_eq!(lanes(&delivery(&batch)), [vec![0, 1, 3], vec![2]]);
    }

    #[test]
    fn on_standard_the_keys_of_a_bundle_are_lanes_and_records_are_apart() {
        let batch = [
            ("", vec![(1, "x"), (2, "y"), (3, "x"), (4, ""), (5, "")]),
            ("", vec![(6, "x"), (7, "x")]),
            ("", vec![(8, "x")]),
            ("", vec![(9, "x")]),
        ];
        assert_eq!(
            lanes(&delivery(&batch)),
            [vec![0, 2], vec![1], vec![3], vec![4], vec![5, 6], vec![7], vec![8]]
        );
    }

    #[test]
    fn copies_join_the_lanes_in_which_they_stand() {
        let batch = [
            ("", vec![(1, "x"), (2, "x")]),
            ("", vec![(3, "y"), (4, "y")]),
            ("", vec![(2, "y"), (4, "y")]),
            ("", vec![(1, "x")]),
        ];
        assert_eq!(lanes(&delivery(&batch)), [vec![0, 1, 2, 3, 4, 5, 6]]);
    }

    #[test]
    fn what_is_no_envelope_stands_alone_and_on_fifo_in_its_group() {
        let mut event = json!({ "Records": [
            { "messageId": "1", "body": "x", "eventSourceARN": "arn:q", "attributes": {}, "messageAttributes": {} },
            { "messageId": "2", "body": "[1,2]", "eventSourceARN": "arn:q", "attributes": {}, "messageAttributes": {} },
        ] });
        let decode = |event: &serde_json::Value| {
            Delivery::decode(serde_json::from_value::<SqsEvent>(event.clone()).unwrap()).unwrap()
        };
        assert_eq!(lanes(&decode(&event)), [vec![0], vec![1], vec![2]]);
        for record in event["Records"].as_array_mut().unwrap() {
            record["eventSourceARN"] = json!("arn:q.fifo");
        }
        assert_eq!(lanes(&decode(&event)), [vec![0, 1, 2]]);
    }

    proptest! {
        #[test]
        fn every_part_is_in_one_lane_in_order_and_all_that_is_bound_to_it_too(
            batch in prop::collection::vec(
                (prop::sample::select(vec!["", "g", "h"]), prop::collection::vec((0_u8..8, prop::sample::select(vec!["", "x", "y"])), 1..5)),
                1..6,
            ),
        ) {
            let delivery = delivery(&batch);
            let lanes = lanes(&delivery);
            let mut all: Vec<usize> = lanes.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..delivery.parts.len()).collect::<Vec<_>>());
            let lane_of = |index: usize| lanes.iter().position(|lane| lane.contains(&index));
            for (i, a) in delivery.parts.iter().enumerate() {
                for (j, b) in delivery.parts.iter().enumerate().skip(i + 1) {
                    let order = Order::of(a, &delivery);
                    let is_bound = a.identity() == b.identity() || (order.is_some() && order == Order::of(b, &delivery));
                    prop_assert!(!is_bound || lane_of(i) == lane_of(j), "{i} {j}");
                }
            }
            for lane in &lanes {
                prop_assert!(lane.is_sorted());
            }
        }
    }
}
