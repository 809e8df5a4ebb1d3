package controller

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// producerIDBlock is the number of producer ids that a broker gets at once
// (ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE).
const producerIDBlock = 1000

// AllocateProducerIDs gives a broker the next block of producer ids
// (AllocateProducerIds v0). A block is never given twice: ids of a block whose
// response was lost stay unused.
func AllocateProducerIDs(in Input, req *kmsg.AllocateProducerIDsRequest) (Decision, *kmsg.AllocateProducerIDsResponse) {
	resp := kmsg.NewPtrAllocateProducerIDsResponse()
	resp.Version = req.Version
	id, epoch := kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch)
	if _, err := checkBrokerEpoch(in.Image, id, epoch); err != nil {
		resp.ErrorCode = int16(err.Code)
		return Decision{}, resp
	}
	first := in.Image.ProducerIDs().Next
	if first > math.MaxInt64-producerIDBlock {
		resp.ErrorCode = int16(errors.UnknownServerError) // all 2^63 ids are used up
		return Decision{}, resp
	}
	resp.ProducerIDStart, resp.ProducerIDLen = int64(first), producerIDBlock
	r := &record.ProducerIDsRecord{BrokerID: id, BrokerEpoch: epoch, NextProducerID: first + producerIDBlock}
	return Decision{Records: []record.Message{message(r)}}, resp
}
