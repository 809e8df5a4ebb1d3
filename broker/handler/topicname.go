package handler

import (
	"kvorum/protocol/errors"
)

// maxTopicName is the length that leaves room for a partition's number and the
// suffix of a deleted directory in a file name (Topic.MAX_NAME_LENGTH).
const maxTopicName = 249

// validTopicName reports whether a topic may have the name (Topic.isValid).
func validTopicName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxTopicName {
		return false
	}
	for i := range len(name) {
		switch b := name[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return true
}

// unknownTopic is the code for a topic that is not there.
func unknownTopic(name string) errors.Code {
	if !validTopicName(name) {
		return errors.InvalidTopicException
	}
	return errors.UnknownTopicOrPartition
}
