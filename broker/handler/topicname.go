package handler

import (
	"kvorum/metadatalog/describe"
	"kvorum/protocol/errors"
)

// unknownTopic is the code for a topic that is not there.
func unknownTopic(name string) errors.Code {
	if describe.TopicName(name) != nil {
		return errors.InvalidTopicException
	}
	return errors.UnknownTopicOrPartition
}
