// Package brokerconfig converts the server.properties of a broker for the steps of a
// migration: from ZooKeeper mode to migration mode, to KRaft mode, and to kvorum's
// broker on the same directories. It is text in, text and notes out: each key of the
// file is kept, changed, dropped or refused, with the reason, and comments and order
// stay. `kvorum migrate broker-config` writes files by it, `kvorum migrate plan` the
// lines of each step.
//
// The rules are those of KIP-866, of KafkaConfig.validateValues of Kafka 3.9 and of
// package config, which is what kvorum's broker reads the result by.
package brokerconfig
