"""Lists of words that concepts are made of: lower case, without the space before them."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words(
    """
    a about after all also although an and any are as at be because been before being between both but by can
    could did do does during each either for from had has have how however if in into is it its may might more
    most must no nor not of on one only or other our over own shall should since so some such than that the their
    them then there these they this those through to too under until up upon very was we were what when where
    whether which while who whom whose why will with within without would you your
    """
)
PRONOUNS = _words(
    """
    he her hers herself him himself his i it its itself me mine my myself our ours ourselves she their theirs them
    themselves they us we you your yours yourself yourselves
    """
)
NUMBER_WORDS = _words(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million
    billion trillion first second third fourth fifth sixth seventh eighth ninth tenth half dozen
    """
)
MONTHS_AND_DAYS = _words(
    """
    january february march april may june july august september october november december jan feb mar apr jun jul
    aug sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun
    """
)
KEYWORDS = _words(
    """
    and as assert async await bool break case catch char class const continue def default del delete do double
    elif else enum except extern false final finally float fn for from func function global goto if import in
    include int interface is lambda let long match mut namespace new none nonlocal not null or override package
    pass private protected public pub raise return self short signed sizeof static struct super switch template
    this throw throws trait true try type typedef typename union unsigned use using var virtual void volatile
    while with yield
    """
)
ENDINGS = _words(
    """
    s es ed ing ly er ers est al ally ment ments ness ity ities tion tions ion ions able ible ful less ous ive ism
    ist ists ence ance ary ory y ies 's 't
    """
)
