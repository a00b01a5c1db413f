"""Week 5: deep networks of names, what keeps them trainable, and a doctor who says what is wrong with one."""
