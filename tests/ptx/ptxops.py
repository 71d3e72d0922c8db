"""All opcodes of PTX that the simulator knows. See ``ptxsim``."""

from __future__ import annotations

import ptxfloat
import ptxinteger
import ptxmemory
import ptxwarp

OPCODES = ptxinteger.OPCODES | ptxfloat.OPCODES | ptxmemory.OPCODES | ptxwarp.OPCODES
