package bench

func childMain() bool { return false }
