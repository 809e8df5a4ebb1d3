package protocol

import (
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// Failure makes the response that fails the whole request with err, as the
// getErrorResponse of Apache's request classes does: the error at the top where
// the response has a place for it, and on every item where it has not (or where
// Apache does both). It covers every API of a controller's listener; for an API
// of brokers alone that has no error at the top it returns nil.
func Failure(r *Request, err error) kmsg.Response {
	code, message := errors.From(err)
	resp := r.Response()
	top(resp, code, message)
	if !items(r.Body, resp, int16(code), message) {
		return nil
	}
	return resp
}

// top sets ErrorCode and ErrorMessage of the response itself, where it has them.
func top(resp kmsg.Response, code errors.Code, message *string) {
	v := reflect.ValueOf(resp).Elem()
	if f := v.FieldByName("ErrorCode"); f.IsValid() {
		f.SetInt(int64(code))
	}
	if f := v.FieldByName("ErrorMessage"); f.IsValid() && message != nil {
		if f.Kind() == reflect.String {
			f.SetString(*message)
		} else {
			f.Set(reflect.ValueOf(message))
		}
	}
}

// items fails every item of a request; false where nobody knows how.
func items(req kmsg.Request, resp kmsg.Response, code int16, message *string) bool {
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		failCreateTopics(req, resp.(*kmsg.CreateTopicsResponse), code, message)
	case *kmsg.DeleteTopicsRequest:
		failDeleteTopics(req, resp.(*kmsg.DeleteTopicsResponse), code, message)
	case *kmsg.CreatePartitionsRequest:
		failCreatePartitions(req, resp.(*kmsg.CreatePartitionsResponse), code, message)
	case *kmsg.AlterConfigsRequest:
		failAlterConfigs(req, resp.(*kmsg.AlterConfigsResponse), code, message)
	case *kmsg.IncrementalAlterConfigsRequest:
		failIncrementalAlterConfigs(req, resp.(*kmsg.IncrementalAlterConfigsResponse), code, message)
	case *kmsg.DescribeConfigsRequest:
		failDescribeConfigs(req, resp.(*kmsg.DescribeConfigsResponse), code, message)
	case *kmsg.CreateACLsRequest:
		failCreateACLs(req, resp.(*kmsg.CreateACLsResponse), code, message)
	case *kmsg.DeleteACLsRequest:
		failDeleteACLs(req, resp.(*kmsg.DeleteACLsResponse), code, message)
	case *kmsg.AlterClientQuotasRequest:
		failAlterClientQuotas(req, resp.(*kmsg.AlterClientQuotasResponse), code, message)
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		failAlterUserSCRAM(req, resp.(*kmsg.AlterUserSCRAMCredentialsResponse), code, message)
	case *kmsg.ElectLeadersRequest:
		failElectLeaders(req, resp.(*kmsg.ElectLeadersResponse), code, message)
	case *kmsg.AlterPartitionAssignmentsRequest:
		failReassignments(req, resp.(*kmsg.AlterPartitionAssignmentsResponse), code, message)
	case *kmsg.FetchRequest:
		failFetch(req, resp.(*kmsg.FetchResponse), code)
	default:
		return reflect.ValueOf(resp).Elem().FieldByName("ErrorCode").IsValid()
	}
	return true
}

func failCreateTopics(req *kmsg.CreateTopicsRequest, resp *kmsg.CreateTopicsResponse, code int16, message *string) {
	for i := range req.Topics {
		t := kmsg.NewCreateTopicsResponseTopic()
		t.Topic, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, code, message
		resp.Topics = append(resp.Topics, t)
	}
}

// failDeleteTopics: before version 6 the request has names only.
func failDeleteTopics(req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse, code int16, message *string) {
	for i := range req.TopicNames {
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.Topic, t.ErrorCode, t.ErrorMessage = &req.TopicNames[i], code, message
		resp.Topics = append(resp.Topics, t)
	}
	for i := range req.Topics {
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.Topic, t.TopicID, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, req.Topics[i].TopicID, code, message
		resp.Topics = append(resp.Topics, t)
	}
}

func failCreatePartitions(req *kmsg.CreatePartitionsRequest, resp *kmsg.CreatePartitionsResponse, code int16, message *string) {
	for i := range req.Topics {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, code, message
		resp.Topics = append(resp.Topics, t)
	}
}

func failAlterConfigs(req *kmsg.AlterConfigsRequest, resp *kmsg.AlterConfigsResponse, code int16, message *string) {
	for i := range req.Resources {
		r := kmsg.NewAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		r.ErrorCode, r.ErrorMessage = code, message
		resp.Resources = append(resp.Resources, r)
	}
}

func failIncrementalAlterConfigs(req *kmsg.IncrementalAlterConfigsRequest, resp *kmsg.IncrementalAlterConfigsResponse, code int16, message *string) {
	for i := range req.Resources {
		r := kmsg.NewIncrementalAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		r.ErrorCode, r.ErrorMessage = code, message
		resp.Resources = append(resp.Resources, r)
	}
}

func failDescribeConfigs(req *kmsg.DescribeConfigsRequest, resp *kmsg.DescribeConfigsResponse, code int16, message *string) {
	for i := range req.Resources {
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		r.ErrorCode, r.ErrorMessage = code, message
		resp.Resources = append(resp.Resources, r)
	}
}

// failCreateACLs: results are told apart by their order.
func failCreateACLs(req *kmsg.CreateACLsRequest, resp *kmsg.CreateACLsResponse, code int16, message *string) {
	for range req.Creations {
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = code, message
		resp.Results = append(resp.Results, r)
	}
}

func failDeleteACLs(req *kmsg.DeleteACLsRequest, resp *kmsg.DeleteACLsResponse, code int16, message *string) {
	for range req.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = code, message
		resp.Results = append(resp.Results, r)
	}
}

func failAlterClientQuotas(req *kmsg.AlterClientQuotasRequest, resp *kmsg.AlterClientQuotasResponse, code int16, message *string) {
	for i := range req.Entries {
		e := kmsg.NewAlterClientQuotasResponseEntry()
		e.ErrorCode, e.ErrorMessage = code, message
		for _, part := range req.Entries[i].Entity {
			p := kmsg.NewAlterClientQuotasResponseEntryEntity()
			p.Type, p.Name = part.Type, part.Name
			e.Entity = append(e.Entity, p)
		}
		resp.Entries = append(resp.Entries, e)
	}
}

// failAlterUserSCRAM: one result for each user, however many changes it has.
func failAlterUserSCRAM(req *kmsg.AlterUserSCRAMCredentialsRequest, resp *kmsg.AlterUserSCRAMCredentialsResponse, code int16, message *string) {
	seen := make(map[string]bool)
	add := func(user string) {
		if seen[user] {
			return
		}
		seen[user] = true
		r := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		r.User, r.ErrorCode, r.ErrorMessage = user, code, message
		resp.Results = append(resp.Results, r)
	}
	for i := range req.Deletions {
		add(req.Deletions[i].Name)
	}
	for i := range req.Upsertions {
		add(req.Upsertions[i].Name)
	}
}

// failElectLeaders: version 0 has no error at the top, so all have it on each
// partition as well.
func failElectLeaders(req *kmsg.ElectLeadersRequest, resp *kmsg.ElectLeadersResponse, code int16, message *string) {
	for i := range req.Topics {
		t := kmsg.NewElectLeadersResponseTopic()
		t.Topic = req.Topics[i].Topic
		for _, id := range req.Topics[i].Partitions {
			p := kmsg.NewElectLeadersResponseTopicPartition()
			p.Partition, p.ErrorCode, p.ErrorMessage = id, code, message
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}

func failReassignments(req *kmsg.AlterPartitionAssignmentsRequest, resp *kmsg.AlterPartitionAssignmentsResponse, code int16, message *string) {
	for i := range req.Topics {
		t := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		t.Topic = req.Topics[i].Topic
		for _, part := range req.Topics[i].Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition, p.ErrorCode, p.ErrorMessage = part.Partition, code, message
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}

// failFetch: before version 13 the error stands on every partition too, for
// clients that do not look at the top.
func failFetch(req *kmsg.FetchRequest, resp *kmsg.FetchResponse, code int16) {
	resp.SessionID = 0
	if req.Version >= 13 {
		return
	}
	for i := range req.Topics {
		t := kmsg.NewFetchResponseTopic()
		t.Topic = req.Topics[i].Topic
		for j := range req.Topics[i].Partitions {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.ErrorCode = req.Topics[i].Partitions[j].Partition, code
			p.HighWatermark, p.RecordBatches = -1, []byte{}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}
