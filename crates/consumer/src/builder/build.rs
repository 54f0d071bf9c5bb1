//! Making the consumer: the wiring is checked, and put together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::Semaphore;

use super::ConsumerBuilder;
use crate::{
    batch::Consumer,
    dead_letter::DeadLetterQueue,
    gap_guard::{GapGuard, Place},
    handler::Route,
    reading::{Contract, chain},
    router::Router,
    start_error::StartError,
};

impl ConsumerBuilder {
    /// The consumer, without reading anything from the environment.
    ///
    /// # Errors
    /// The first fault in the wiring.
    pub fn build(mut self) -> Result<Consumer, StartError> {
        let is_valid = (1..=100).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_valid {
            return Err(StartError::InvalidName { name: self.name });
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.routes.is_empty() && self.any.is_none() {
            return Err(StartError::NoHandler { consumer: self.name });
        }
        let handled: HashSet<&'static str> = self.routes.keys().copied().collect();
        let contract = Arc::new(Contract::new(
            chain(std::mem::take(&mut self.upcasts), &handled)?,
            #[cfg(feature = "schema")]
            crate::reading::Schemas::compile(self.schemas.drain(..).filter(|_| self.is_validating))?,
        ));
        let made = std::mem::take(&mut self.routes).into_iter();
        let made: HashMap<&'static str, Route> = made.map(|(event_type, make)| (event_type, make(&contract))).collect();
        let routes = made.iter().map(|(event_type, route)| (*event_type, route));
        for (event_type, route) in routes.chain(self.any.iter().map(|route| ("*", route))) {
            self.check_store(event_type, route)?;
        }
        let gap_guard = self.place_guard(&made)?;
        let sqs = Arc::new(crate::sqs::SqsClient::new(self.sqs.take()));
        #[cfg(feature = "dynamodb")]
        let outbox = self.make_outbox(&sqs)?;
        #[cfg(feature = "test-kit")]
        let own_queues = self.own_queues.take().unwrap_or(sqs);
        #[cfg(not(feature = "test-kit"))]
        let own_queues = sqs;
        Ok(Consumer {
            router: Router {
                contract,
                routes: made,
                any: self.any,
                unknown_type: self.unknown_type,
            },
            retry_delay: self.retry_delay,
            permits: Semaphore::new(self.concurrency.min(Semaphore::MAX_PERMITS)),
            max_receive_count: self.max_receive_count.filter(|_| self.dead_letter_url.is_some()),
            shutdown: Arc::default(),
            queues: DeadLetterQueue::new(self.name.clone(), self.dead_letter_url, own_queues),
            claim_check: self.claim_check,
            #[cfg(feature = "dynamodb")]
            dedupe: self.dedupe.map(|dedupe| dedupe.with_tables(self.tables)),
            #[cfg(feature = "dynamodb")]
            outbox,
            gap_guard,
            #[cfg(feature = "postgres")]
            inbox: self.pool.map(crate::postgres::Inbox::new),
            name: self.name,
        })
    }

    #[cfg(feature = "dynamodb")]
    fn make_outbox(
        &mut self,
        sqs: &Arc<crate::sqs::SqsClient>,
    ) -> Result<Option<Arc<crate::outbox::Outbox>>, StartError> {
        use crate::outbox::{AwsPost, Outbox};
        let Some(table) = self.outbox.take() else {
            return match self.targets.keys().next() {
                Some(target) => Err(StartError::NoOutbox { target: target.clone() }),
                None => Ok(None),
            };
        };
        let dedupe = self.dedupe.as_ref().ok_or(StartError::OutboxWithoutDedupe)?;
        #[cfg(feature = "test-kit")]
        let post = self.post.take();
        #[cfg(not(feature = "test-kit"))]
        let post: Option<Arc<dyn crate::outbox::Post>> = None;
        let post = match post {
            Some(post) => post,
            None => {
                for (alias, target) in &self.targets {
                    let fault = |problem| StartError::InvalidTarget {
                        target: alias.clone(),
                        problem,
                    };
                    target.check(&self.name).map_err(fault)?;
                }
                Arc::new(AwsPost::new(Arc::clone(sqs)))
            }
        };
        let store = Arc::clone(&dedupe.store);
        let targets = std::mem::take(&mut self.targets);
        Ok(Some(Arc::new(Outbox::new(
            self.name.clone(),
            table,
            targets,
            store,
            post,
        ))))
    }

    /// Where the watermarks are: a key has one, so all handlers have their effects beside it.
    fn place_guard(&self, routes: &HashMap<&'static str, Route>) -> Result<Option<(GapGuard, Place)>, StartError> {
        let Some(guard) = self.gap_guard else { return Ok(None) };
        let mut placed: Option<Place> = None;
        let routes = routes.iter().map(|(event_type, route)| (*event_type, route));
        for (event_type, route) in routes.chain(self.any.iter().map(|route| ("*", route))) {
            let event_type = || event_type.to_owned();
            let place = match route {
                #[cfg(feature = "dynamodb")]
                Route::Transactional(_) => Place::DynamoDb,
                #[cfg(feature = "postgres")]
                Route::Postgres(_) => Place::Postgres,
                #[cfg(feature = "dynamodb")]
                Route::Leased(_) => {
                    return Err(StartError::GapGuard {
                        event_type: event_type(),
                    });
                }
            };
            if placed.is_some_and(|placed| placed != place) {
                return Err(StartError::TwoWatermarks {
                    event_type: event_type(),
                });
            }
            placed = Some(place);
        }
        Ok(placed.map(|place| (guard, place)))
    }

    /// A handler without its store could only fail every message.
    fn check_store(&self, event_type: &str, route: &Route) -> Result<(), StartError> {
        let event_type = event_type.to_owned();
        match route {
            #[cfg(feature = "dynamodb")]
            Route::Transactional(_) if self.dedupe.is_none() => Err(StartError::NoDedupe { event_type }),
            #[cfg(feature = "dynamodb")]
            Route::Transactional(_) => Ok(()),
            #[cfg(feature = "dynamodb")]
            Route::Leased(_) if self.dedupe.is_none() => Err(StartError::NoLeases { event_type }),
            #[cfg(feature = "dynamodb")]
            Route::Leased(route) if !crate::leased::LEASE_BOUNDS.contains(&route.lease) => {
                Err(StartError::InvalidLease {
                    event_type,
                    lease: route.lease,
                })
            }
            #[cfg(feature = "dynamodb")]
            Route::Leased(_) => Ok(()),
            #[cfg(feature = "postgres")]
            Route::Postgres(_) if self.pool.is_none() => Err(StartError::NoPostgres { event_type }),
            #[cfg(feature = "postgres")]
            Route::Postgres(_) => Ok(()),
        }
    }
}
