package protocol

import (
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// Failure makes the response that fails the whole request with err, as the
// getErrorResponse of Apache's request classes does: the error at the top where
// the response has a place for it, and on every item where it has not (or where
// Apache does both). Every API has one; only the
// answer to DescribeLogDirs before version 3 has no place for an error and is
// empty, as Apache's.
func Failure(r *Request, err error) kmsg.Response {
	code, message := errors.From(err)
	resp := r.Response()
	mark(reflect.ValueOf(resp).Elem(), code, message)
	switch req := r.Body.(type) {
	case *kmsg.DeleteTopicsRequest:
		failDeleteTopics(req, resp.(*kmsg.DeleteTopicsResponse), int16(code), message)
	case *kmsg.CreateACLsRequest:
		failCreateACLs(req, resp.(*kmsg.CreateACLsResponse), int16(code), message)
	case *kmsg.DeleteACLsRequest:
		failDeleteACLs(req, resp.(*kmsg.DeleteACLsResponse), int16(code), message)
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		failAlterUserSCRAM(req, resp.(*kmsg.AlterUserSCRAMCredentialsResponse), int16(code), message)
	case *kmsg.AlterReplicaLogDirsRequest:
		failAlterReplicaLogDirs(req, resp.(*kmsg.AlterReplicaLogDirsResponse), int16(code))
	case *kmsg.FetchRequest:
		failFetch(req, resp.(*kmsg.FetchResponse), int16(code))
	default:
		mirror(reflect.ValueOf(r.Body).Elem(), reflect.ValueOf(resp).Elem(), code, message)
	}
	return resp
}

// mark sets ErrorCode and ErrorMessage of a struct that has them, and gives its
// other fields the values that stand for nothing.
func mark(v reflect.Value, code errors.Code, message *string) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch name := v.Type().Field(i).Name; {
		case name == "ErrorCode":
			f.SetInt(int64(code))
		case name == "ErrorMessage" && message != nil:
			if f.Kind() == reflect.String {
				f.SetString(*message)
			} else {
				f.Set(reflect.ValueOf(message))
			}
		case nothing[name] && f.CanInt():
			f.SetInt(-1)
		}
	}
}

// nothing are the fields that are -1 where there is an error, whatever the
// schema's default says.
var nothing = map[string]bool{
	"BaseOffset": true, "Offset": true, "EndOffset": true, "LowWatermark": true, "StartOffset": true,
	"NodeID": true, "Port": true, "ProducerID": true, "ProducerEpoch": true,
}

// asked names the list of a request whose items a list of the response answers,
// where the two have not the same name.
var asked = map[string]string{"Coordinators": "CoordinatorKeys", "TransactionStates": "TransactionalIDs"}

// mirror fails every item of a request: where a list of the response answers a
// list of the request, it gets an element for each one there, with its identity
// and with the error, at every depth. Other lists (a group's members) stay empty.
func mirror(req, resp reflect.Value, code errors.Code, message *string) {
	for i := range resp.NumField() {
		field := resp.Type().Field(i)
		if field.Type.Kind() != reflect.Slice || field.Type.Elem().Kind() != reflect.Struct {
			continue
		}
		name := field.Name
		if other, ok := asked[name]; ok {
			name = other
		}
		items := req.FieldByName(name)
		if !items.IsValid() && name == "Groups" {
			items = req.FieldByName("GroupIDs") // of share groups
		}
		if !items.IsValid() || items.Kind() != reflect.Slice {
			continue
		}
		answers := reflect.MakeSlice(field.Type, items.Len(), items.Len())
		for j := range items.Len() {
			answer := answers.Index(j)
			answer.Addr().MethodByName("Default").Call(nil)
			mark(answer, code, message)
			if item := items.Index(j); item.Kind() == reflect.Struct {
				copyIdentity(item, answer)
				mirror(item, answer, code, message)
			} else {
				identify(answer, item)
			}
		}
		resp.Field(i).Set(answers)
	}
}

// identity are the fields that say which item it is.
var identity = []string{"Topic", "TopicID", "Partition", "Group", "GroupID", "MemberID", "InstanceID", "TransactionalID", "ProducerID",
	"ResourceType", "ResourceName", "Type", "Name"}

// copyIdentity copies what says which item it is.
func copyIdentity(item, answer reflect.Value) {
	for _, name := range identity {
		from, to := item.FieldByName(name), answer.FieldByName(name)
		switch {
		case !from.IsValid() || !to.IsValid():
		case to.Type() == from.Type():
			to.Set(from)
		case to.Kind() == reflect.Pointer && to.Type().Elem() == from.Type():
			to.Set(from.Addr())
		}
	}
}

// identify puts a name or a partition into the first field that fits it.
func identify(answer, item reflect.Value) {
	for i := range answer.NumField() {
		if f := answer.Field(i); f.Type() == item.Type() && answer.Type().Field(i).Name != "ErrorMessage" {
			f.Set(item)
			return
		}
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

// failAlterReplicaLogDirs: the request is by directory, the answer by topic.
func failAlterReplicaLogDirs(req *kmsg.AlterReplicaLogDirsRequest, resp *kmsg.AlterReplicaLogDirsResponse, code int16) {
	for i := range req.Dirs {
		for j := range req.Dirs[i].Topics {
			from := &req.Dirs[i].Topics[j]
			t := kmsg.NewAlterReplicaLogDirsResponseTopic()
			t.Topic = from.Topic
			for _, id := range from.Partitions {
				p := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				p.Partition, p.ErrorCode = id, code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
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
