//! What a transaction is: whole or not at all, within its limits, and seen by whoever reads next.

use futures::future::join_all;
use uuid::Uuid;

use super::{Place, Verdict, named, only_if, same, wanting_old};
use crate::{
    Attribute, Condition,
    dynamodb::store::{Cancellation, Changes, ItemKey, Transacted, Write},
};

const MAX_WRITES: usize = 100;
/// Below the 400 KB of an item.
const LARGE_BYTES: usize = 390 * 1024;

pub(super) async fn reasons_stand_by_position(place: &Place) -> Verdict {
    let there = [("own", "other".into())];
    place.commits(&[place.put("a", &there), place.put("b", &there)]).await?;
    let mine = || Condition::equals("own", "mine");
    let writes = [
        place.put("free", &[]),
        wanting_old(only_if(place.put("a", &[]), mine())),
        wanting_old(only_if(place.put("also free", &[]), Condition::absent("pk"))),
        only_if(place.delete("b"), mine()),
        wanting_old(place.check("nobody", mine())),
    ];
    let reasons = vec![
        Cancellation::None,
        Cancellation::ConditionFailed(Some(place.item("a", &there))),
        Cancellation::None,
        Cancellation::ConditionFailed(None),
        Cancellation::ConditionFailed(None),
    ];
    place.cancels(&writes, reasons).await
}

pub(super) async fn nothing_of_a_canceled_one_is_applied(place: &Place) -> Verdict {
    let there = [("n", 1.into())];
    place.commits(&[place.put("a", &there), place.put("b", &there)]).await?;
    let mut elsewhere = place.put("c", &[]);
    elsewhere.table.clone_from(&place.other);
    let key = elsewhere.item();
    let writes = [
        place.update("a", one_more()),
        place.delete("b"),
        elsewhere,
        place.put("d", &[]),
        place.check("nobody", Condition::exists("pk")),
    ];
    let mut reasons = vec![Cancellation::None; 4];
    reasons.push(Cancellation::ConditionFailed(None));
    place.cancels(&writes, reasons).await?;
    place.has("a", &there).await?;
    place.has("b", &there).await?;
    same("the other table's item", &place.store.read(&[key]).await?, &vec![None])?;
    place.lacks("d").await
}

pub(super) async fn one_item_takes_one_action(place: &Place) -> Verdict {
    place.commits(&[place.put("a", &[])]).await?;
    let there = || Condition::exists("pk");
    for writes in [
        [place.put("a", &[("n", 1.into())]), place.delete("a")],
        [place.update("a", one_more()), place.update("a", one_more())],
        [place.check("a", there()), only_if(place.delete("a"), there())],
    ] {
        place.refuses(&writes).await?;
        place.has("a", &[]).await?;
    }
    // The same key in another table is another item.
    let mut elsewhere = place.put("a", &[]);
    elsewhere.table.clone_from(&place.other);
    place.commits(&[place.put("a", &[("n", 1.into())]), elsewhere]).await?;
    place.has("a", &[("n", 1.into())]).await
}

pub(super) async fn a_hundred_actions_are_taken(place: &Place) -> Verdict {
    place.commits(&puts(place, MAX_WRITES, &[])).await?;
    place.has("0", &[]).await?;
    place.has("99", &[]).await
}

pub(super) async fn more_than_a_hundred_are_refused(place: &Place) -> Verdict {
    place.refuses(&puts(place, MAX_WRITES + 1, &[])).await?;
    place.lacks("0").await
}

pub(super) async fn none_is_refused(place: &Place) -> Verdict {
    place.refuses(&[]).await
}

pub(super) async fn four_megabytes_are_taken(place: &Place) -> Verdict {
    let large = [("large", "x".repeat(LARGE_BYTES).into())];
    place.commits(&puts(place, 10, &large)).await?;
    place
        .judges("9", vec![("it is there", Condition::exists("large"), true)])
        .await
}

pub(super) async fn more_than_four_mebibytes_are_refused(place: &Place) -> Verdict {
    let large = [("large", "x".repeat(LARGE_BYTES).into())];
    place.refuses(&puts(place, 11, &large)).await?;
    place
        .judges("0", vec![("it is not there", Condition::absent("large"), true)])
        .await
}

pub(super) async fn a_table_must_exist(place: &Place) -> Verdict {
    let mut nowhere = place.put("a", &[]);
    nowhere.table = format!("no-table-{}", place.id);
    let key = nowhere.item();
    let found = place.transact(&[place.put("b", &[]), nowhere]).await;
    let expected = Transacted::Refused("ResourceNotFoundException".to_owned());
    same("the answer", &found, &expected)?;
    place.lacks("b").await?;
    same("whether it is read", &place.store.read(&[key]).await.is_ok(), &false)
}

pub(super) async fn a_token_counts_once(place: &Place) -> Verdict {
    let token = Uuid::new_v4().to_string();
    let writes = [place.update("a", one_more()), place.put("b", &[])];
    for _ in 0..3 {
        let found = place.store.transact(&token, &writes).await;
        same("the answer", &found, &Transacted::Committed)?;
        place.has("a", &[("n", 1.into())]).await?;
    }
    let other = [place.update("a", one_more()), place.put("c", &[])];
    let found = place.store.transact(&token, &other).await;
    let expected = Transacted::Refused("IdempotentParameterMismatchException".to_owned());
    same("the answer to other writes", &found, &expected)?;
    place.lacks("c").await?;
    // The same writes under another token are another request.
    place.commits(&writes).await?;
    place.has("a", &[("n", 2.into())]).await
}

pub(super) async fn of_many_at_once_one_wins(place: &Place) -> Verdict {
    let attempt = |own: u32| async move {
        let put = place.put("a", &[("own", own.into())]);
        let writes = [
            only_if(put, Condition::absent("pk")),
            place.put(&format!("of {own}"), &[]),
        ];
        (own, place.transact(&writes).await)
    };
    let answers = join_all((0..8).map(attempt)).await;
    let won = |(_, answer): &&(u32, Transacted)| *answer == Transacted::Committed;
    let winners: Vec<u32> = answers.iter().filter(won).map(|(own, _)| *own).collect();
    same("how many win", &winners.len(), &1)?;
    for (own, answer) in answers {
        let name = format!("of {own}");
        match answer {
            Transacted::Committed => {
                place.has("a", &[("own", own.into())]).await?;
                place.has(&name, &[]).await?;
            }
            Transacted::Canceled(_) | Transacted::Busy(_) => place.lacks(&name).await?,
            other => return Err(format!("a loser is answered {other:?}")),
        }
    }
    Ok(())
}

pub(super) async fn a_read_sees_the_last_write(place: &Place) -> Verdict {
    for round in 0..20 {
        place.commits(&[place.put("a", &[("n", round.into())])]).await?;
        place.has("a", &[("n", round.into())]).await?;
    }
    place.commits(&[place.delete("a")]).await?;
    place.lacks("a").await
}

pub(super) async fn a_read_keeps_the_order_of_its_keys(place: &Place) -> Verdict {
    // More than a request of DynamoDB takes.
    let names: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    let written: Vec<Write> = names.iter().step_by(2).map(|name| place.put(name, &[])).collect();
    place.commits(&written).await?;
    let mut elsewhere = place.put("0", &[("is", "elsewhere".into())]);
    elsewhere.table.clone_from(&place.other);
    let mut keys: Vec<ItemKey> = names.iter().rev().map(|name| place.key(name)).collect();
    keys.insert(60, elsewhere.item());
    place.commits(&[elsewhere]).await?;
    let item = |name: &String| match name.parse::<u32>() {
        Ok(number) if number % 2 == 0 => Some(place.item(name, &[])),
        _ => None,
    };
    let mut expected: Vec<_> = names.iter().rev().map(item).collect();
    expected.insert(60, Some(place.item("0", &[("is", "elsewhere".into())])));
    same("what is read", &place.store.read(&keys).await?, &expected)?;
    same("what is read of no key", &place.store.read(&[]).await?, &Vec::new())
}

pub(super) async fn what_has_expired_is_still_there(place: &Place) -> Verdict {
    let expired = [("ttl", 1_000_000_000_i64.into())];
    place.commits(&[place.put("a", &expired)]).await?;
    place.has("a", &expired).await?;
    let again = only_if(place.put("a", &[]), Condition::absent("pk"));
    let old = Some(place.item("a", &expired));
    place
        .cancels(&[wanting_old(again)], vec![Cancellation::ConditionFailed(old)])
        .await
}

fn puts(place: &Place, count: usize, attributes: &[(&str, Attribute)]) -> Vec<Write> {
    let names = (0..count).map(|number| number.to_string());
    names.map(|name| place.put(&name, attributes)).collect()
}

fn one_more() -> Changes {
    Changes {
        add: named(&[("n", 1.into())]),
        ..Changes::default()
    }
}
