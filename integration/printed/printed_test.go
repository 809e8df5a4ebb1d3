package printed

import "testing"

func TestNormalise(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ClusterId:              AAAAAAAAAAAAAAAAAAAAAg", "ClusterId:              <id>"},
		{"LeaderId:               3\nLeaderEpoch:            12\n", "LeaderId: <controller>\nLeaderEpoch: <n>\n"},
		{"localhost and 127.0.0.1:29091,127.0.0.1:3", "localhost and <address>,<address>"},
		{"Feature: kraft.version\tFinalizedVersionLevel: 1\tEpoch: 37", "Feature: kraft.version\tFinalizedVersionLevel: 1\tEpoch: <n>"},
		{"a_word_of_more_than_22_characters_stays", "a_word_of_more_than_22_characters_stays"},
		{"$ tool --bootstrap-controller 127.0.0.1:1", "$ tool --bootstrap-controller <address>"},
		{"Partition: 1	Isr: 12,13,11	Elr: ", "Partition: 1	Isr: 11,12,13	Elr:"},
		{"some.Exception: no\n	at a.b(C.java:3)\n	... 3 more\nCaused by: x", "some.Exception: no\nCaused by: x"},
		{`CurrentObservers:       [{"id": 13, "d": "x"}, {"id": 11, "d": "x"}]`, `CurrentObservers:       [{"id": 11, "d": "x"}, {"id": 13, "d": "x"}]`},
		{`CurrentObservers:       [{"id": 13}]`, `CurrentObservers:       [{"id": 13}]`},
		{`CurrentObservers:       []`, `CurrentObservers:       []`},
		{`"log_dirs":["/var/broker-13/data","any"]`, `"log_dirs":["<path>","any"]`},
		{"Invalid state list 'x'. Valid states are: Stable, Dead, Empty", "Invalid state list 'x'. Valid states are: Dead, Empty, Stable"},
		{"trailing \t\nblanks  ", "trailing\nblanks"},
	} {
		if got := Normalise(c.in); got != c.want {
			t.Errorf("Normalise(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestReplication(t *testing.T) {
	in := `NodeId	DirectoryId           	LogEndOffset	Lag	LastFetchTimestamp	LastCaughtUpTimestamp	Status  	
2     	3u7K0ZQ2S1qxk0m1v8aJWw	61          	0  	1763800000000     	1763800000000        	Leader  	
11    	3u7K0ZQ2S1qxk0m1v8aJWw	61          	0  	1763800000000     	1763800000000        	Observer	
1     	3u7K0ZQ2S1qxk0m1v8aJWw	60          	1  	-1                	1763800000000        	Follower	
`
	want := `NodeId DirectoryId LogEndOffset Lag LastFetchTimestamp LastCaughtUpTimestamp Status
11 <id> <offset> <lag> <time> <time> Observer
<controller> <id> <offset> <lag> <time> <time> Follower
<controller> <id> <offset> <lag> <time> <time> Leader
`
	if got := Replication(in); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestResources(t *testing.T) {
	in := "Current ACLs for resource `B`:\n \t(z)\n\t(a)\n\nCurrent ACLs for resource `A`:\n\t(x)\n\n"
	want := "Current ACLs for resource `A`:\n (x)\nCurrent ACLs for resource `B`:\n (a)\n (z)\n"
	if got := Resources(in); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := Resources("Adding ACLs for resource `A`:\n\t(x)\n\n"+in), "Adding ACLs for resource `A`:\n (x)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
