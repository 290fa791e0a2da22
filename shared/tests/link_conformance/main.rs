//! One suite for both links: every claim runs in memory, and on RabbitMQ if `REJOIN_TEST_AMQP_URL` names one.
//!
//! Without that variable the RabbitMQ half says that it was skipped, or fails if `REJOIN_TEST_REQUIRE_SERVERS=1`.
#![cfg(feature = "amqp")]

mod amqp_only;
mod claims;
mod fixture;
mod memory_only;
mod proxy;

/// Runs each claim on both brokers.
macro_rules! on_both {
    ($($claim:ident)*) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    crate::claims::$claim(&crate::fixture::Fixture::memory()).await;
                }
            )*
        }
        mod rabbitmq {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    if let Some(fixture) = crate::fixture::Fixture::rabbitmq() {
                        crate::claims::$claim(&fixture).await;
                        fixture.clean().await;
                    }
                }
            )*
        }
    };
}

on_both! {
    a_confirmed_message_is_delivered_with_all_its_properties
    a_queue_keeps_the_order_of_the_calls
    a_message_to_no_queue_is_unroutable
    a_message_to_a_fanout_exchange_without_queues_is_accepted
    a_requeued_message_comes_again_first_and_redelivered
    a_dropped_consumer_gives_back_what_it_had_not_settled_in_order
    prefetch_bounds_what_is_unsettled
    two_consumers_share_a_queue
    a_dead_lettered_message_moves_to_the_dead_letters
    a_message_beyond_its_delivery_limit_moves_to_the_dead_letters
    an_exclusive_queue_gets_what_its_exchange_gets
    an_exclusive_queue_goes_with_its_link
    an_exclusive_queue_goes_with_its_last_reader_and_may_be_declared_anew
    an_exclusive_queue_is_closed_to_other_links
    a_receipt_settles_once_and_not_after_its_consumer
    acks_in_any_order_settle_what_they_name_and_nothing_else
    a_lost_connection_comes_back_and_its_messages_with_it
    declaring_again_is_harmless
    declaring_with_other_arguments_is_refused_and_the_link_goes_on
    consuming_a_missing_queue_fails_and_the_link_goes_on
    depth_counts_messages_and_consumers
    a_deleted_queue_ends_its_consumers_and_can_be_declared_again
    each_of_many_pipelined_publishes_gets_its_own_outcome
    a_closed_link_has_confirmed_what_was_published
}
