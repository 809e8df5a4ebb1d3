package describe

import "kvorum/protocol/errors"

// maxTopicName keeps "name-partition" a valid name of a directory
// (org.apache.kafka.common.internals.Topic).
const maxTopicName = 249

// TopicName refuses a name that Kafka refuses, with Apache's reason
// (Topic.validate).
func TopicName(name string) *errors.Error {
	reason := ""
	switch {
	case name == "":
		reason = "the empty string is not allowed"
	case name == "." || name == "..":
		reason = "'" + name + "' is not allowed"
	case len(name) > maxTopicName:
		// Java counts UTF-16 units; the difference shows in no name that is legal.
		return errors.New(errors.InvalidTopicException,
			"Topic name is invalid: the length of '%s' is longer than the max allowed length %d", name, maxTopicName)
	case !legalTopicChars(name):
		reason = "'" + name + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
	default:
		return nil
	}
	return errors.New(errors.InvalidTopicException, "Topic name is invalid: %s", reason)
}

func legalTopicChars(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
