//go:build planted && linux

#include "textflag.h"

// int clock_gettime(clockid_t R0, struct timespec *R1) by C's convention, on the
// stack of a system thread: the time of the vDSO, and for CLOCK_REALTIME (0) the
// seconds more.
TEXT ·shifted(SB), NOSPLIT|NOFRAME, $0-0
	STP.W	(R29, R30), -32(RSP)
	STP	(R0, R1), 16(RSP)
	MOVD	·kernels(SB), R9
	CALL	(R9)
	LDP	16(RSP), (R10, R11)
	LDP.P	32(RSP), (R29, R30)
	CBNZW	R10, done
	MOVD	·seconds(SB), R9
	MOVD	(R9), R9
	MOVD	(R11), R10
	ADD	R9, R10
	MOVD	R10, (R11)
done:
	RET

// func shiftedPC() uintptr
TEXT ·shiftedPC(SB), NOSPLIT, $0-8
	MOVD	$·shifted(SB), R0
	MOVD	R0, ret+0(FP)
	RET
