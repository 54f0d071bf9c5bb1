//! Which events go into which transaction. Pure.
//!
//! A transaction takes 100 writes and 4 MiB, and names no item twice. Writes that commute are
//! merged into one; events whose writes to one item do not commute go one after the other.

use std::collections::{HashMap, HashSet};

use super::{
    merge::merge,
    store::{Cancellation, Write},
};

/// DynamoDB API Reference, `TransactWriteItems`: 100 actions, 4 MB, no item twice.
pub(crate) const MAX_WRITES: usize = 100;
pub(crate) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// An event that is ready to be committed: its record's write and those of its effects, which fit
/// into a transaction by themselves.
pub(crate) struct Candidate<'a> {
    pub(crate) id: u64,
    /// Only candidates of the same cell go together: one that is suspected of having failed its
    /// group is kept apart.
    pub(crate) cell: u64,
    pub(crate) writes: &'a [Write],
}

/// What goes into one transaction.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
    pub(crate) writes: Vec<Write>,
    cell: u64,
    bytes: usize,
    /// The places of items in `writes`.
    items: HashMap<String, usize>,
}

/// A candidate in a group.
pub(crate) struct Member {
    pub(crate) id: u64,
    /// For each of its writes, in their order: the place in the group's writes.
    pub(crate) places: Vec<usize>,
}

/// Takes of `candidates`, in their order, all that can be committed side by side with what is in
/// flight; the rest has to wait for it.
///
/// No item is in two of the groups or in a group and in flight: the transactions would only be in
/// each other's way.
pub(crate) fn plan(candidates: &[Candidate<'_>], in_flight: &HashSet<String>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut taken: HashMap<String, usize> = HashMap::new();
    for candidate in candidates {
        let items: Vec<String> = candidate.writes.iter().map(|write| write.item().identity()).collect();
        if items.iter().any(|item| in_flight.contains(item)) {
            continue;
        }
        let homes: HashSet<usize> = items.iter().filter_map(|item| taken.get(item).copied()).collect();
        let mut homes = homes.into_iter();
        let place = match (homes.next(), homes.next()) {
            (Some(home), None) => groups[home].with(candidate, &items).map(|group| (home, group)),
            (Some(_), Some(_)) => None,
            (None, _) => {
                let mut open = groups.iter().enumerate();
                let joined = open.find_map(|(index, group)| Some((index, group.with(candidate, &items)?)));
                joined.or_else(|| Some((groups.len(), Group::of(candidate).with(candidate, &items)?)))
            }
        };
        let Some((home, joined)) = place else { continue };
        if home == groups.len() {
            groups.push(Group::of(candidate));
        }
        groups[home].join(candidate.id, joined, &items);
        taken.extend(items.into_iter().map(|item| (item, home)));
    }
    groups
}

/// What a candidate would add to a group.
struct Joined {
    places: Vec<usize>,
    merged: Vec<(usize, Write)>,
    added: Vec<Write>,
    bytes: usize,
}

impl Group {
    fn of(candidate: &Candidate<'_>) -> Self {
        Self {
            cell: candidate.cell,
            ..Self::default()
        }
    }

    /// How the group would take the candidate, if it can.
    fn with(&self, candidate: &Candidate<'_>, items: &[String]) -> Option<Joined> {
        if self.cell != candidate.cell {
            return None;
        }
        let mut joined = Joined {
            places: Vec::with_capacity(items.len()),
            merged: Vec::new(),
            added: Vec::new(),
            bytes: self.bytes,
        };
        for (write, item) in candidate.writes.iter().zip(items) {
            match self.items.get(item) {
                Some(&place) => {
                    let merged = merge(&self.writes[place], write)?;
                    let grown = merged.size_bytes().saturating_sub(self.writes[place].size_bytes());
                    joined.bytes += grown;
                    joined.merged.push((place, merged));
                    joined.places.push(place);
                }
                None => {
                    joined.places.push(self.writes.len() + joined.added.len());
                    joined.bytes += write.size_bytes();
                    joined.added.push(write.clone());
                }
            }
        }
        let fits = self.writes.len() + joined.added.len() <= MAX_WRITES && joined.bytes <= MAX_BYTES;
        fits.then_some(joined)
    }

    fn join(&mut self, id: u64, joined: Joined, items: &[String]) {
        for (place, write) in joined.merged {
            self.writes[place] = write;
        }
        for (item, place) in items.iter().zip(&joined.places) {
            self.items.entry(item.clone()).or_insert(*place);
        }
        self.writes.extend(joined.added);
        self.bytes = joined.bytes;
        self.members.push(Member {
            id,
            places: joined.places,
        });
    }

    /// The identities of the items that it writes to.
    pub(crate) fn items(&self) -> impl Iterator<Item = &String> {
        self.items.keys()
    }

    /// The reasons of a member's own writes, in their order.
    pub(crate) fn reasons_of<'a>(&self, member: &Member, reasons: &'a [Cancellation]) -> Vec<&'a Cancellation> {
        let own = member.places.iter();
        own.map(|place| reasons.get(*place).unwrap_or(&Cancellation::None))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Condition, Effects, Key,
        dynamodb::store::{Change, Changes},
    };

    fn record(id: u64) -> Write {
        Write {
            table: "dedupe".to_owned(),
            key: Key::new("pk", format!("c#{id}")),
            change: Change::Put(Vec::new()),
            condition: Some(Condition::absent("pk")),
            wants_old: true,
        }
    }

    fn add(item: &str, n: i64) -> Write {
        let mut effects = Effects::default();
        effects.update("t", Key::new("pk", item)).add("n", n);
        effects.list[0].write(&HashMap::new())
    }

    fn put(item: &str) -> Write {
        let mut effects = Effects::default();
        effects.put("t", Key::new("pk", item));
        effects.list[0].write(&HashMap::new())
    }

    fn planned(events: &[Vec<Write>], in_flight: &HashSet<String>) -> Vec<Group> {
        let candidates: Vec<Candidate<'_>> = events
            .iter()
            .zip(0..)
            .map(|(writes, id)| Candidate { id, cell: 0, writes })
            .collect();
        plan(&candidates, in_flight)
    }

    fn ids(groups: &[Group]) -> Vec<Vec<u64>> {
        let of = |group: &Group| group.members.iter().map(|member| member.id).collect();
        groups.iter().map(of).collect()
    }

    #[test]
    fn fifty_events_of_two_writes_are_one_transaction_and_the_next_begins_another() {
        let events: Vec<_> = (0..51).map(|id| vec![record(id), put(&id.to_string())]).collect();
        let groups = planned(&events, &HashSet::new());
        assert_eq!(
            groups.iter().map(|group| group.writes.len()).collect::<Vec<_>>(),
            [100, 2]
        );
    }

    #[test]
    fn additions_to_one_item_are_one_write_of_their_sum() {
        let events: Vec<_> = (0..99).map(|id| vec![record(id), add("hot", 2)]).collect();
        let groups = planned(&events, &HashSet::new());
        assert_eq!((groups.len(), groups[0].writes.len()), (1, 100));
        let Change::Update(Changes { add, .. }) = &groups[0].writes[1].change else {
            panic!("no update")
        };
        assert_eq!(add[0].1.0, aws_sdk_dynamodb::types::AttributeValue::N("198".to_owned()));
        assert!(groups[0].members.iter().all(|member| member.places[1] == 1));
    }

    #[test]
    fn whole_items_written_twice_go_one_after_the_other() {
        let events = [
            vec![record(0), put("x")],
            vec![record(1), put("x")],
            vec![record(2), put("y")],
        ];
        assert_eq!(ids(&planned(&events, &HashSet::new())), [vec![0, 2]]);
        let in_flight = events[0].iter().map(|write| write.item().identity()).collect();
        assert_eq!(ids(&planned(&events, &in_flight)), [vec![2]]);
    }

    #[test]
    fn four_mebibytes_are_not_passed() {
        let large = |id: u64| {
            let mut effects = Effects::default();
            let item = effects.put("t", Key::new("pk", id.to_string()));
            item.set("text", "x".repeat(390_000));
            vec![record(id), effects.list[0].write(&HashMap::new())]
        };
        let events: Vec<_> = (0..12).map(large).collect();
        assert_eq!(
            ids(&planned(&events, &HashSet::new())),
            [(0..10).collect(), vec![10, 11]]
        );
    }

    #[test]
    fn a_suspect_is_kept_apart() {
        let events = [vec![record(0)], vec![record(1)], vec![record(2)]];
        let cells = [0, 1, 0].into_iter().zip(&events).zip(0..);
        let candidates: Vec<_> = cells
            .map(|((cell, writes), id)| Candidate { id, cell, writes })
            .collect();
        assert_eq!(ids(&plan(&candidates, &HashSet::new())), [vec![0, 2], vec![1]]);
    }

    proptest! {
        #[test]
        fn groups_keep_the_rules_take_each_event_once_and_add_up(
            events in prop::collection::vec(prop::collection::btree_map(0_u8..6, (any::<bool>(), 1_i64..5), 0..4), 1..40),
            cells in prop::collection::vec(0_u64..2, 40),
            in_flight in prop::collection::hash_set(0_u8..6, 0..3),
        ) {
            let writes: Vec<Vec<Write>> = events.iter().zip(0..).map(|(effects, id)| {
                let effects = effects.iter().map(|(item, (adds, n))| {
                    if *adds { add(&item.to_string(), *n) } else { put(&item.to_string()) }
                });
                [record(id)].into_iter().chain(effects).collect()
            }).collect();
            let in_flight: HashSet<String> = in_flight.iter().map(|item| put(&item.to_string()).item().identity()).collect();
            let candidates: Vec<_> = writes.iter().zip(&cells).zip(0..)
                .map(|((writes, cell), id)| Candidate { id, cell: *cell, writes }).collect();
            let groups = plan(&candidates, &in_flight);
            let mut events_seen = HashSet::new();
            let mut items_seen = in_flight.clone();
            for group in &groups {
                prop_assert!(group.writes.len() <= MAX_WRITES);
                let cell_of = |member: &Member| cells[usize::try_from(member.id).unwrap()];
                prop_assert!(group.members.iter().all(|member| cell_of(member) == cell_of(&group.members[0])));
                for write in &group.writes {
                    prop_assert!(items_seen.insert(write.item().identity()), "an item in two places");
                }
                let mut sums: HashMap<usize, i64> = HashMap::new();
                for member in &group.members {
                    prop_assert!(events_seen.insert(member.id));
                    let own = &writes[usize::try_from(member.id).unwrap()];
                    prop_assert_eq!(own.len(), member.places.len());
                    for (write, place) in own.iter().zip(&member.places) {
                        prop_assert_eq!(write.item().identity(), group.writes[*place].item().identity());
                        *sums.entry(*place).or_default() += added(write);
                    }
                }
                for (place, sum) in sums {
                    prop_assert_eq!(added(&group.writes[place]), sum);
                }
            }
            // Whoever is first and free is never left waiting: the batch comes to an end.
            let first_free = writes.iter().position(|own| own.iter().all(|write| !in_flight.contains(&write.item().identity())));
            if let Some(first) = first_free {
                prop_assert!(events_seen.contains(&u64::try_from(first).unwrap()));
            }
        }
    }

    fn added(write: &Write) -> i64 {
        match &write.change {
            Change::Update(changes) => changes
                .add
                .iter()
                .map(|(_, n)| n.0.as_n().unwrap().parse::<i64>().unwrap())
                .sum(),
            _ => 0,
        }
    }
}
