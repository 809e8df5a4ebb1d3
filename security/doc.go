// Package security says who may do what: Kafka's principals and the rules of
// Apache's StandardAuthorizer over the access control entries of an image, and
// the credentials that SCRAM derives from a password.
//
// Controllers ask it for every request, also for what brokers forward (brokers
// do not authorize that); brokers will ask the same functions. All of it is
// pure: an answer follows from the entries, the rules and the question.
package security
