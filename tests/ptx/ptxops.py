"""All opcodes of PTX that the simulator knows. See ``ptxsim``."""

from __future__ import annotations

import ptxfloat
import ptxinteger
import ptxmemory
import ptxwarp
import ptxwgmma

OPCODES = ptxinteger.OPCODES | ptxfloat.OPCODES | ptxmemory.OPCODES | ptxwarp.OPCODES | ptxwgmma.OPCODES
