package answers

// differences are the steps, or single answers, in which kvorum's differ from
// Apache's, and why. A single answer that differs no more fails the test.
var differences = map[string]string{
	"Produce without a key, v8":  "the texts about refused records are our own",
	"Produce without a key, v13": "the texts about refused records are our own",
	"DescribeQuorum, v2":         "the controllers say null where Apache says the empty text",
}
