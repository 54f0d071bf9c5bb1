//! What a partition of a table with a sort key holds.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Place, Verdict, same};
use crate::{
    Key,
    dynamodb::store::{Change, Item, ItemKey, Write},
};

fn key(place: &Place, partition: &str, sk: &str) -> Key {
    Key::new("pk", place.pk(partition)).sort("sk", sk)
}

async fn put(place: &Place, partition: &str, sk: &str) -> Verdict {
    let write = Write {
        table: place.sorted.clone(),
        key: key(place, partition, sk),
        change: Change::Put(Vec::new()),
        condition: None,
        wants_old: false,
    };
    place.commits(&[write]).await
}

fn names(items: &[Item]) -> Vec<&str> {
    let names = items.iter().filter_map(|item| item.get("sk")?.as_s().ok());
    names.map(String::as_str).collect()
}

pub(super) async fn a_partition_is_read_in_pages_in_the_order_of_its_sort_keys(place: &Place) -> Verdict {
    for sk in ["c", "a", "d", "b"] {
        put(place, "one", sk).await?;
    }
    put(place, "other", "a").await?;
    let partition = ItemKey::new(&place.sorted, Key::new("pk", place.pk("one")));
    let first = place.store.query(&partition, None, 3).await?;
    same("the first page", &names(&first.items), &vec!["a", "b", "c"])?;
    let next = first.next.ok_or("there is no place of the next page")?;
    let last = place.store.query(&partition, Some(&next), 3).await?;
    same("the last page", &names(&last.items), &vec!["d"])?;
    same("what follows the last page", &last.next, &None)
}

pub(super) async fn an_empty_partition_has_no_items(place: &Place) -> Verdict {
    let partition = ItemKey::new(&place.sorted, Key::new("pk", place.pk("nobody")));
    let page = place.store.query(&partition, None, 3).await?;
    same("the page", &page, &crate::dynamodb::store::Page::default())
}

pub(super) async fn what_was_deleted_is_in_no_page(place: &Place) -> Verdict {
    put(place, "one", "gone").await?;
    put(place, "one", "stays").await?;
    let delete = Write {
        table: place.sorted.clone(),
        key: key(place, "one", "gone"),
        change: Change::Delete,
        condition: None,
        wants_old: false,
    };
    place.commits(&[delete]).await?;
    let partition = ItemKey::new(&place.sorted, Key::new("pk", place.pk("one")));
    let page = place.store.query(&partition, None, 10).await?;
    same("the page", &names(&page.items).contains(&"gone"), &false)?;
    let expected = AttributeValue::S("stays".to_owned());
    let is_there = page.items.iter().any(|item| item.get("sk") == Some(&expected));
    same("whether the other one is there", &is_there, &true)
}
