// Package config is the one registry of configuration keys: what each key is
// called, its type, default, range and scope, and what it does here. Every
// other reading of a configuration comes from it: server.properties at start,
// CreateTopics and AlterConfigs on the active controller, DescribeConfigs, and
// docs/configuration.md.
//
// Names, types, defaults, ranges and error texts are Apache Kafka 4.3's
// (LogConfig, AbstractKafkaConfig, DynamicBrokerConfig, GroupConfig,
// ClientMetricsConfigs); testdata holds what Apache's own classes answered.
// The package is a leaf and pure: text in, values and errors out.
package config
