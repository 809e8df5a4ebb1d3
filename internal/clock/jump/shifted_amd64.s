//go:build planted && linux

#include "textflag.h"

// int clock_gettime(clockid_t DI, struct timespec *SI) by C's convention, on the
// stack of a system thread: the time of the vDSO, and for CLOCK_REALTIME (0) the
// seconds more.
TEXT ·shifted(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ	DI
	PUSHQ	SI
	SUBQ	$8, SP // C's functions are called on stacks of a multiple of 16
	MOVQ	·kernels(SB), AX
	CALL	AX
	ADDQ	$8, SP
	POPQ	SI
	POPQ	DI
	CMPL	DI, $0
	JNE	done
	MOVQ	·seconds(SB), CX
	MOVQ	(CX), CX
	ADDQ	CX, (SI)
done:
	RET

// func shiftedPC() uintptr
TEXT ·shiftedPC(SB), NOSPLIT, $0-8
	MOVQ	$·shifted(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
