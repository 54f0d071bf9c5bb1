use proptest::prelude::*;

use super::*;

const SHARDS: usize = 16;

/// One sink's cursors and the relays that work on it, without a database.
#[derive(Debug)]
struct World {
    rows: Vec<ShardRow>,
    relays: Vec<(String, Vec<(i16, i64)>)>,
}

impl World {
    fn new() -> Self {
        let row = |shard| ShardRow {
            shard,
            epoch: 0,
            owner: None,
        };
        Self {
            rows: (0..16).map(row).collect(),
            relays: Vec::new(),
        }
    }

    fn members(&self) -> Vec<String> {
        self.relays.iter().map(|(id, _)| id.clone()).collect()
    }

    /// One relay acts on what it sees, as the supervisor does.
    fn act(&mut self, index: usize) -> bool {
        let members = self.members();
        let (me, held) = self.relays[index].clone();
        let plan = plan(&me, &members, &self.rows, &held);
        let held = &mut self.relays[index].1;
        held.retain(|(shard, epoch)| !plan.release.contains(&(*shard, *epoch)) && !plan.lost.contains(shard));
        for (shard, epoch) in &plan.release {
            let row = &mut self.rows[usize::try_from(*shard).unwrap()];
            assert_eq!((row.owner.as_ref(), row.epoch), (Some(&me), *epoch));
            row.owner = None;
        }
        for (shard, epoch) in &plan.take {
            let row = &mut self.rows[usize::try_from(*shard).unwrap()];
            assert_eq!(row.epoch, *epoch);
            row.epoch += 1;
            row.owner = Some(me.clone());
            held.push((*shard, row.epoch));
        }
        !plan.is_empty()
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            let acted: Vec<bool> = (0..self.relays.len()).map(|index| self.act(index)).collect();
            if !acted.contains(&true) {
                return;
            }
        }
        panic!("the relays do not come to rest: {self:?}");
    }

    fn assert_fair(&self) {
        if self.relays.is_empty() {
            return;
        }
        let counts: Vec<usize> = self.relays.iter().map(|(_, held)| held.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), SHARDS, "{self:?}");
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{counts:?}");
        for (id, held) in &self.relays {
            for (shard, epoch) in held {
                let row = &self.rows[usize::try_from(*shard).unwrap()];
                assert_eq!((row.owner.as_ref(), row.epoch), (Some(id), *epoch));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Joins,
    Dies(prop::sample::Index),
    Reset(prop::sample::Index),
    /// A sink's session is lost, not its relay: it forgets what it holds.
    Forgets(prop::sample::Index),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Joins),
        any::<prop::sample::Index>().prop_map(Happens::Dies),
        any::<prop::sample::Index>().prop_map(Happens::Reset),
        any::<prop::sample::Index>().prop_map(Happens::Forgets),
    ]
}

proptest! {
    #[test]
    fn whoever_comes_and_goes_the_shards_are_spread_evenly_and_held_by_one_each(
        story in prop::collection::vec(happens(), 1..30),
    ) {
        let mut world = World::new();
        for (step, happens) in story.into_iter().enumerate() {
            match happens {
                Happens::Joins => world.relays.push((format!("relay-{step}"), Vec::new())),
                Happens::Dies(index) if !world.relays.is_empty() => {
                    let index = index.index(world.relays.len());
                    world.relays.remove(index);
                }
                Happens::Forgets(index) if !world.relays.is_empty() => {
                    let index = index.index(world.relays.len());
                    world.relays[index].1.clear();
                    // Others come while it is away.
                    world.relays.push((format!("relay-{step}"), Vec::new()));
                }
                Happens::Dies(_) | Happens::Forgets(_) => {}
                Happens::Reset(index) => world.rows[index.index(SHARDS)].epoch += 1,
            }
            world.settle();
            world.assert_fair();
        }
    }
}

#[test]
fn a_relay_that_is_not_on_the_list_holds_nothing() {
    let mut world = World::new();
    world.relays.push(("a".to_owned(), Vec::new()));
    world.settle();
    let held = world.relays[0].1.clone();
    let plan = plan("a", &["b".to_owned()], &world.rows, &held);
    assert_eq!((plan.release.len(), plan.take.len()), (SHARDS, 0));
}

#[test]
fn what_an_earlier_session_has_left_behind_counts_in_the_share() {
    let mut world = World::new();
    for row in &mut world.rows[..3] {
        row.owner = Some("a".to_owned());
    }
    let members = ["a".to_owned(), "b".to_owned()];
    let plan = plan("a", &members, &world.rows, &[]);
    let taken: Vec<i16> = plan.take.iter().map(|(shard, _)| *shard).collect();
    assert_eq!((plan.share, taken), (8, (0..8).collect()));
    assert!(plan.release.is_empty() && plan.lost.is_empty());
}

#[test]
fn more_relays_than_shards_leave_some_without() {
    let mut world = World::new();
    for index in 0..20 {
        world.relays.push((format!("relay-{index:02}"), Vec::new()));
    }
    world.settle();
    world.assert_fair();
}
