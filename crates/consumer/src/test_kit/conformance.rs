//! One suite for whatever stands behind the seam to DynamoDB: what a test sees in memory is what DynamoDB does.
//!
//! For the tests of this crate alone. The cases know the seam and nothing of the store behind it; each works on
//! items of its own, so that they may run against tables that are in use. An error tells what was found.

mod changes;
mod conditions;
mod queries;
mod transactions;

use std::{fmt::Debug, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{FutureExt as _, future::BoxFuture};
use uuid::Uuid;

use crate::{
    Attribute, Condition, DynamoDbDedupe, Key,
    dynamodb::store::{Cancellation, Change, Changes, Item, ItemKey, Store, Transacted, Write},
};

/// What a case found; an error where that is not what was to be found.
type Verdict = Result<(), String>;
type Case = for<'a> fn(&'a Place) -> BoxFuture<'a, Verdict>;

macro_rules! cases {
    ($($room:ident: $($case:ident),+;)+) => {
        &[$($((concat!(stringify!($room), "::", stringify!($case)), |place| $room::$case(place).boxed())),+),+]
    };
}

/// Every case, by its name.
const CASES: &[(&str, Case)] = cases! {
    conditions: a_put_where_nothing_may_be, an_update_of_what_must_be_there, a_delete_by_its_owner,
        a_take_over_of_what_has_expired, a_check_changes_nothing, numbers_compare_by_value, strings_compare_by_bytes,
        another_type_is_different, another_type_is_neither_less_nor_more, what_is_absent_only_differs, sets_are_equal_in_any_order,
        conditions_are_joined, only_what_has_an_order_is_ordered;
    changes: a_put_replaces_the_whole_item, an_update_changes_what_it_names, an_update_makes_the_item,
        sets_are_added_to, a_list_is_appended_to_in_order, a_sum_with_something_else_is_canceled, only_numbers_and_sets_are_added,
        the_key_is_not_updated, an_update_changes_something, an_attribute_is_changed_once, no_key_is_empty, no_set_is_empty;
    transactions: reasons_stand_by_position, nothing_of_a_canceled_one_is_applied, one_item_takes_one_action,
        a_hundred_actions_are_taken, more_than_a_hundred_are_refused, none_is_refused, four_megabytes_are_taken,
        more_than_four_mebibytes_are_refused, a_table_must_exist, a_token_counts_once,
        of_many_at_once_one_wins, a_read_sees_the_last_write, a_read_keeps_the_order_of_its_keys,
        what_has_expired_is_still_there;
    queries: a_partition_is_read_in_pages_in_the_order_of_its_sort_keys, an_empty_partition_has_no_items,
        what_was_deleted_is_in_no_page;
};

/// Runs every case against the store of `dedupe`, whose table and `other` have the key `pk`, a string; `sorted`
/// has a sort key `sk` beside it.
///
/// Returns the names of the cases that failed, each with what it found.
#[doc(hidden)]
pub async fn failures(dedupe: &DynamoDbDedupe, other: &str, sorted: &str) -> Vec<(&'static str, String)> {
    let mut failures = Vec::new();
    for (name, case) in CASES {
        let place = Place {
            store: Arc::clone(&dedupe.store),
            table: dedupe.table.clone(),
            other: other.to_owned(),
            sorted: sorted.to_owned(),
            id: Uuid::new_v4(),
        };
        if let Err(found) = case(&place).await {
            failures.push((*name, found));
        }
    }
    failures
}

/// Where a case works: two tables, and items that are its own.
struct Place {
    store: Arc<dyn Store>,
    table: String,
    other: String,
    sorted: String,
    id: Uuid,
}

impl Place {
    fn key(&self, name: &str) -> ItemKey {
        ItemKey::new(&self.table, Key::new("pk", self.pk(name)))
    }

    fn pk(&self, name: &str) -> String {
        format!("conformance#{}#{name}", self.id)
    }

    fn write(&self, name: &str, change: Change) -> Write {
        let ItemKey { table, key } = self.key(name);
        Write {
            table,
            key,
            change,
            condition: None,
            wants_old: false,
        }
    }

    fn put(&self, name: &str, attributes: &[(&str, Attribute)]) -> Write {
        self.write(name, Change::Put(named(attributes)))
    }

    fn update(&self, name: &str, changes: Changes) -> Write {
        self.write(name, Change::Update(changes))
    }

    fn delete(&self, name: &str) -> Write {
        self.write(name, Change::Delete)
    }

    fn check(&self, name: &str, condition: Condition) -> Write {
        only_if(self.write(name, Change::Check), condition)
    }

    /// With a token of its own.
    async fn transact(&self, writes: &[Write]) -> Transacted {
        self.store.transact(&Uuid::new_v4().to_string(), writes).await
    }

    async fn commits(&self, writes: &[Write]) -> Verdict {
        same("the answer", &self.transact(writes).await, &Transacted::Committed)
    }

    async fn cancels(&self, writes: &[Write], reasons: Vec<Cancellation>) -> Verdict {
        same(
            "the answer",
            &self.transact(writes).await,
            &Transacted::Canceled(reasons),
        )
    }

    async fn refuses(&self, writes: &[Write]) -> Verdict {
        let refused = Transacted::Refused("ValidationException".to_owned());
        same("the answer", &self.transact(writes).await, &refused)
    }

    /// A single write that is found to be none, before its item is looked at or then.
    async fn turns_down(&self, write: Write) -> Verdict {
        match self.transact(&[write]).await {
            Transacted::Refused(_) => Ok(()),
            Transacted::Canceled(reasons) if matches!(reasons[..], [Cancellation::Invalid(_)]) => Ok(()),
            other => Err(format!("the answer is {other:?}")),
        }
    }

    /// A single write whose condition does not hold, and which does not ask for the item.
    async fn declines(&self, write: Write) -> Verdict {
        self.cancels(&[write], vec![Cancellation::ConditionFailed(None)]).await
    }

    async fn read(&self, name: &str) -> Result<Option<Item>, String> {
        let mut items = self.store.read(&[self.key(name)]).await?;
        same("how many items are read", &items.len(), &1)?;
        Ok(items.remove(0))
    }

    /// The item has these attributes beside its key, and no other.
    async fn has(&self, name: &str, attributes: &[(&str, Attribute)]) -> Verdict {
        same("the item", &self.read(name).await?, &Some(self.item(name, attributes)))
    }

    async fn lacks(&self, name: &str) -> Verdict {
        same("the item", &self.read(name).await?, &None)
    }

    fn item(&self, name: &str, attributes: &[(&str, Attribute)]) -> Item {
        let attributes = named(attributes).into_iter().map(|(name, value)| (name, value.0));
        let key = ("pk".to_owned(), AttributeValue::S(self.pk(name)));
        attributes.chain([key]).collect()
    }

    /// Which of `expected` hold of an item; all that deviate are told at once.
    async fn judges(&self, name: &str, expected: Vec<(&str, Condition, bool)>) -> Verdict {
        let mut deviations = Vec::new();
        for (what, condition, is_expected) in expected {
            let holds = match self.transact(&[self.check(name, condition)]).await {
                Transacted::Committed => true,
                Transacted::Canceled(reasons) if reasons == [Cancellation::ConditionFailed(None)] => false,
                other => return Err(format!("{what}: {other:?}")),
            };
            if holds != is_expected {
                deviations.push(what);
            }
        }
        same("what is judged otherwise", &deviations, &Vec::new())
    }
}

fn named(attributes: &[(&str, Attribute)]) -> Vec<(String, Attribute)> {
    let pair = |(name, value): &(&str, Attribute)| ((*name).to_owned(), value.clone());
    attributes.iter().map(pair).collect()
}

fn only_if(write: Write, condition: Condition) -> Write {
    let condition = Some(condition);
    Write { condition, ..write }
}

fn wanting_old(write: Write) -> Write {
    let wants_old = true;
    Write { wants_old, ..write }
}

fn texts(texts: &[&str]) -> Attribute {
    Attribute(AttributeValue::Ss(
        texts.iter().map(|text| (*text).to_owned()).collect(),
    ))
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} is {found:?}, not {expected:?}"))
}
